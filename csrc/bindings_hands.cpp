// Python's way to what is done with the points of hands: boxes, filters, frames, fits, readings. RTC: bindings_rtc.cpp.
#include "bindings_hands.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "arrays.hpp"
#include "fit.hpp"
#include "lifted.hpp"
#include "palm_frame.hpp"
#include "points.hpp"

namespace rt_hands {
namespace {

py::tuple extent_py(const py::object& points_object, double least_score, double turn_rad) {
    const Float64Array points = float64_of_shape(points_object, "points_px", "(N, 3): x, y, score", {kAny, 3});
    const Extent box = extent(points.data(), points.shape(0), least_score, turn_rad);
    return py::make_tuple(box.x0, box.y0, box.x1, box.y1, box.count);
}

py::tuple mean_step_py(const py::object& a_object, const py::object& b_object) {
    const Float64Array a = float64_of_shape(a_object, "a", "(N, 3): x, y, score", {kAny, 3});
    const std::string wanted = "(N, 3) with N = " + std::to_string(a.shape(0)) + " as in a";
    const Float64Array b = float64_of_shape(b_object, "b", wanted.c_str(), {a.shape(0), 3});
    const MeanStep step = mean_step(a.data(), b.data(), a.shape(0));
    return py::make_tuple(step.x, step.y, step.length);
}

double longest_way_py(const py::object& points_object, std::int64_t chain, double least_score) {
    const Float64Array points = float64_of_shape(points_object, "points_px", "(N, 3): x, y, score", {kAny, 3});
    if (chain < 1) throw py::value_error("chain must be 1 or more, got " + std::to_string(chain) + ".");
    return longest_way(points.data(), points.shape(0), chain, least_score);
}

py::tuple one_euro_py(const py::object& now_object, const py::object& last_object, const py::object& speed_object,
                      double dt_s, double size, double min_cutoff_hz, double beta, double d_cutoff_hz) {
    const Float64Array now = float64_of_shape(now_object, "now", "(N, D)", {kAny, kAny});
    const py::ssize_t count = now.shape(0), axes = now.shape(1);
    const Float64Array last = float64_of_shape(last_object, "last", "of the shape of now", {count, axes});
    const Float64Array speed = float64_of_shape(speed_object, "speed", "of the shape of now", {count, axes});
    if (!(dt_s > 0)) throw py::value_error("dt_s must be above 0, got " + std::to_string(dt_s) + ".");
    py::array_t<double> points({count, axes}), changed({count, axes});
    std::copy(last.data(), last.data() + last.size(), points.mutable_data());
    std::copy(speed.data(), speed.data() + speed.size(), changed.mutable_data());
    one_euro({min_cutoff_hz, beta, d_cutoff_hz}, now.data(), points.mutable_data(), changed.mutable_data(), count, axes,
             dt_s, size);
    return py::make_tuple(points, changed);
}

py::array_t<float> moved_back_py(const py::object& points_object, const py::object& before_object,
                                 const py::object& share_object, py::ssize_t joints, double most) {
    const auto points = numbers<float>(as_array(points_object, "points_px"), "points_px");
    check_shape(points, "points_px", "(N, P, 3): x, y, score", {kAny, kAny, 3});
    const py::ssize_t hands = points.shape(0), count = points.shape(1);
    const auto before = numbers<float>(as_array(before_object, "before"), "before");
    check_shape(before, "before", "of the shape of points_px", {hands, count, 3});
    const Float64Array share = float64_of_shape(share_object, "share", "(N,) with N as in points_px", {hands});
    if (joints < 0 || joints > count) throw py::value_error("joints must be 0 .. P, got " + std::to_string(joints) + ".");
    py::array_t<float> out({hands, count, py::ssize_t{3}});
    std::copy(points.data(), points.data() + points.size(), out.mutable_data());
    for (py::ssize_t i = 0, at = 0; i < hands; ++i, at += 3 * count) {
        move_back(out.mutable_data() + at, before.data() + at, count, joints, share.data()[i], most);
    }
    return out;
}

py::array_t<double> support_py(const py::object& drawn_object, const py::object& read_object,
                               const py::object& weight_object, const py::object& reach_object) {
    const Float64Array drawn = float64_of_shape(drawn_object, "drawn_px", "(V, K, J, 2)", {kAny, kAny, kAny, 2});
    const py::ssize_t views = drawn.shape(0), hands = drawn.shape(1), joints = drawn.shape(2);
    const Float64Array read =
        float64_of_shape(read_object, "read_px", "(V, R, J, 2) with V and J as in drawn_px", {views, kAny, joints, 2});
    const py::ssize_t readings = read.shape(1);
    const Float64Array weight =
        float64_of_shape(weight_object, "weight", "(V, R, J) as in read_px", {views, readings, joints});
    const Float64Array reach = float64_of_shape(reach_object, "reach_px", "(V, R) as in read_px", {views, readings});
    py::array_t<double> out({hands, views, readings});
    double* to = out.mutable_data();
    for (py::ssize_t k = 0; k < hands; ++k) {
        for (py::ssize_t v = 0; v < views; ++v) {
            for (py::ssize_t r = v * readings; r < (v + 1) * readings; ++r) {
                *to++ = support(drawn.data() + 2 * joints * (v * hands + k), read.data() + 2 * joints * r,
                                weight.data() + joints * r, joints, reach.data()[r]);
            }
        }
    }
    return out;
}

py::tuple readings_py(const py::object& points_object, py::ssize_t joints, py::ssize_t least, double usual_score,
                      double score_fall) {
    const auto points = numbers<float>(as_array(points_object, "points_px"), "points_px");
    check_shape(points, "points_px", "(V, H, P, 3): x, y, score", {kAny, kAny, kAny, 3});
    const py::ssize_t views = points.shape(0), hands = points.shape(1), count = points.shape(2);
    if (joints < 1 || joints > count) throw py::value_error("joints must be 1 .. P, got " + std::to_string(joints) + ".");
    py::array_t<double> place({views, hands, joints, py::ssize_t{2}}), weight({views, hands, joints}),
        size({views, hands}), sure({views, hands});
    for (py::ssize_t i = 0; i < views * hands; ++i) {
        const ReadingSums sums =
            read_hand(points.data() + 3 * count * i, joints, least, {usual_score, score_fall},
                      place.mutable_data() + 2 * joints * i, weight.mutable_data() + joints * i);
        size.mutable_data()[i] = sums.size_px, sure.mutable_data()[i] = sums.sure;
    }
    return py::make_tuple(place, weight, size, sure);
}

using Indices = py::array_t<std::int64_t, py::array::c_style>;

// Indices of joints, each below `count`.
Indices joint_indices(const py::object& object, const char* name, const char* wanted,
                      std::initializer_list<py::ssize_t> shape, py::ssize_t count) {
    const py::array array = as_array(object, name);
    check_shape(array, name, wanted, shape);
    const Indices out = numbers<std::int64_t>(array, name);
    for (py::ssize_t i = 0; i < out.size(); ++i) {
        if (out.data()[i] < 0 || out.data()[i] >= count) {
            throw py::value_error(std::string(name) + " must be joints 0 .. " + std::to_string(count - 1) + ", got " +
                                  std::to_string(out.data()[i]) + ".");
        }
    }
    return out;
}

// How hands' frames are found, held for as long as its rule is used.
class Framing {
   public:
    Framing(const py::object& palm, const py::object& palm_template, py::ssize_t joints, py::ssize_t least_palm_joints,
            double least_spread, double least_scale_mm)
        : template_(float64_of_shape(palm_template, "template", "(P, 3)", {kAny, 3})),
          palm_(joint_indices(palm, "palm", "(P,) with P as in template", {template_.shape(0)}, joints)),
          room_(static_cast<std::size_t>(template_.size())),
          rule_{palm_.data(), template_.data(), palm_.size(), least_palm_joints, least_spread, least_scale_mm} {
        check_finite(template_.data(), template_.size(), "template");
    }

    const FrameRule& rule() const { return rule_; }
    double* room() { return room_.data(); }

   private:
    Float64Array template_;
    Indices palm_;
    std::vector<double> room_;
    FrameRule rule_;
};

py::array_t<double> right_handedness_py(const py::object& joints_object, const py::object& palm,
                                        const py::object& palm_template, const py::object& fingers_object,
                                        py::ssize_t least_palm_joints, double least_spread, double least_scale_mm) {
    const Float64Array joints = float64_of_shape(joints_object, "joints_mm", "(N, J, 3) in mm", {kAny, kAny, 3});
    const py::ssize_t count = joints.shape(0), each = joints.shape(1);
    Framing framing(palm, palm_template, each, least_palm_joints, least_spread, least_scale_mm);
    const Indices fingers = joint_indices(fingers_object, "fingers", "(F,)", {kAny}, each);
    py::array_t<double> out(count);
    for (py::ssize_t i = 0; i < count; ++i) {
        double height[2];
        for (int left = 0; left < 2; ++left) {
            height[left] = height_over_palm(joints.data() + 3 * each * i, left ? -1 : 1, framing.rule(), fingers.data(),
                                            fingers.size(), framing.room());
        }
        out.mutable_data()[i] = height[0] - height[1];
    }
    return out;
}

// Which of so many hands are left ones.
std::vector<std::uint8_t> flags(const py::object& object, const char* name, const std::string& wanted, py::ssize_t count) {
    const py::array array = as_array(object, name);
    check_shape(array, name, wanted.c_str(), {count});
    if (!is_dtype<bool>(array)) throw py::value_error(std::string(name) + " must be bool, " + came(array) + ".");
    std::vector<std::uint8_t> out(static_cast<std::size_t>(count));
    for (py::ssize_t i = 0; i < count; ++i) out[static_cast<std::size_t>(i)] = *static_cast<const bool*>(array.data(i));
    return out;
}

py::tuple hand_frames_py(const py::object& joints_object, const py::object& mirrored_object, const py::object& palm,
                         const py::object& palm_template, py::ssize_t least_palm_joints, double least_spread,
                         double least_scale_mm) {
    const Float64Array joints = float64_of_shape(joints_object, "joints_mm", "(N, J, 3) in mm", {kAny, kAny, 3});
    const py::ssize_t count = joints.shape(0), each = joints.shape(1);
    const std::vector<std::uint8_t> left = flags(mirrored_object, "mirrored", "(N,) with N as in joints_mm", count);
    Framing framing(palm, palm_template, each, least_palm_joints, least_spread, least_scale_mm);
    py::array_t<double> rotation({count, py::ssize_t{3}, py::ssize_t{3}}), origin({count, py::ssize_t{3}}), scale(count),
        measured(count);
    py::array_t<bool> present(count);
    const double nan = std::numeric_limits<double>::quiet_NaN();
    for (py::ssize_t i = 0; i < count; ++i) {
        const double sign = left[static_cast<std::size_t>(i)] ? -1 : 1;
        const HandFrame hand = hand_frame(joints.data() + 3 * each * i, sign, framing.rule(), framing.room());
        const PalmFrame& frame = hand.palm;
        present.mutable_data()[i] = hand.sound;
        measured.mutable_data()[i] = hand.enough ? frame.scale_mm : nan;
        scale.mutable_data()[i] = hand.sound ? frame.scale_mm : nan;
        for (int k = 0; k < 9; ++k) rotation.mutable_data()[9 * i + k] = hand.sound ? frame.rotation[k] : nan;
        for (int k = 0; k < 3; ++k) origin.mutable_data()[3 * i + k] = hand.sound ? frame.origin_mm[k] : nan;
    }
    return py::make_tuple(rotation, origin, scale, present, measured);
}

// Frames of N hands as Python keeps them.
struct FrameArrays {
    std::vector<std::uint8_t> left;
    Float64Array rotation, origin, scale;

    FrameArrays(py::ssize_t count, const py::object& mirrored, const py::object& rotation_object,
                const py::object& origin_object, const py::object& scale_object)
        : left(flags(mirrored, "mirrored", "(N,) with N as in points", count)),
          rotation(float64_of_shape(rotation_object, "rotation", "(N, 3, 3) with N as in points", {count, 3, 3})),
          origin(float64_of_shape(origin_object, "origin_mm", "(N, 3) with N as in points", {count, 3})),
          scale(float64_of_shape(scale_object, "scale_mm", "(N,) with N as in points", {count})) {}

    double sign(py::ssize_t i) const { return left[static_cast<std::size_t>(i)] ? -1 : 1; }
};

py::tuple into_frames_py(const py::object& points_object, const py::object& mirrored, const py::object& rotation,
                         const py::object& origin, const py::object& scale) {
    const Float64Array points = float64_of_shape(points_object, "points_mm", "(N, P, 3) in mm", {kAny, kAny, 3});
    const py::ssize_t count = points.shape(0), each = points.shape(1);
    const FrameArrays frames(count, mirrored, rotation, origin, scale);
    py::array_t<float> out({count, each, py::ssize_t{3}}), valid({count, each});
    for (py::ssize_t i = 0; i < count * each; ++i) {
        double point[3];
        const py::ssize_t hand = i / each;
        into_frame(points.data() + 3 * i, frames.sign(hand), frames.rotation.data() + 9 * hand,
                   frames.origin.data() + 3 * hand, frames.scale.data()[hand], point);
        const bool there = std::isfinite(point[0] + point[1] + point[2]);
        valid.mutable_data()[i] = there;
        for (int k = 0; k < 3; ++k) out.mutable_data()[3 * i + k] = there ? static_cast<float>(point[k]) : 0;
    }
    return py::make_tuple(out, valid);
}

py::array_t<double> out_of_frames_py(const py::object& points_object, const py::object& mirrored,
                                     const py::object& rotation, const py::object& origin, const py::object& scale) {
    const Float64Array points = float64_of_shape(points_object, "points", "(N, P, 3) in palms", {kAny, kAny, 3});
    const py::ssize_t count = points.shape(0), each = points.shape(1);
    const FrameArrays frames(count, mirrored, rotation, origin, scale);
    py::array_t<double> out({count, each, py::ssize_t{3}});
    for (py::ssize_t i = 0; i < count * each; ++i) {
        const py::ssize_t hand = i / each;
        out_of_frame(points.data() + 3 * i, frames.sign(hand), frames.rotation.data() + 9 * hand,
                     frames.origin.data() + 3 * hand, frames.scale.data()[hand], out.mutable_data() + 3 * i);
    }
    return out;
}

py::array_t<double> mean_apart_py(const py::object& a_object, const py::object& b_object) {
    const Float64Array a = float64_of_shape(a_object, "a_mm", "(A, P, 3)", {kAny, kAny, 3});
    const py::ssize_t points = a.shape(1);
    const Float64Array b = float64_of_shape(b_object, "b_mm", "(B, P, 3) with P as in a_mm", {kAny, points, 3});
    py::array_t<double> out({a.shape(0), b.shape(0)});
    double* to = out.mutable_data();
    for (py::ssize_t i = 0; i < a.shape(0); ++i) {
        for (py::ssize_t j = 0; j < b.shape(0); ++j) {
            *to++ = mean_apart(a.data() + 3 * points * i, b.data() + 3 * points * j, points);
        }
    }
    return out;
}

py::array_t<double> blend_skin_py(const py::object& seen_object, const py::object& computed_object, double share,
                                  double reach_mm) {
    const Float64Array seen = float64_of_shape(seen_object, "seen_mm", "(H, P, 3)", {kAny, kAny, 3});
    const Float64Array computed = float64_of_shape(computed_object, "computed_mm", "of the shape of seen_mm",
                                                   {seen.shape(0), seen.shape(1), 3});
    py::array_t<double> out({seen.shape(0), seen.shape(1), py::ssize_t{3}});
    std::copy(seen.data(), seen.data() + seen.size(), out.mutable_data());
    blend_skin(out.mutable_data(), computed.data(), seen.shape(0) * seen.shape(1), share, reach_mm);
    return out;
}

// The model of hands, checked once and kept, so that a call costs what the fit costs.
class HandFitter {
   public:
    HandFitter(const py::object& mean, const py::object& precision, const py::object& bones, const py::object& pairs,
               const py::object& palm_joints, const py::object& palm_template)
        : mean_(float64_of_shape(mean, "mean", "(21, 3)", {kJoints, 3})),
          precision_(float64_of_shape(precision, "precision", "(63, 63)", {kFree, kFree})),
          bones_(float64_of_shape(bones, "bones", "(20,)", {kBones})),
          template_(float64_of_shape(palm_template, "palm_template", "(P, 3)", {kAny, 3})),
          pairs_(joint_indices(pairs, "pairs", "(20, 2)", {kBones, 2}, kJoints)),
          palm_joints_(joint_indices(palm_joints, "palm_joints", "(P,) with P as in palm_template", {template_.shape(0)},
                                     kJoints)) {
        if (template_.shape(0) > kJoints) throw py::value_error("palm_template must have 21 joints at most.");
        for (const Float64Array* array : {&mean_, &precision_, &bones_, &template_}) {
            check_finite(array->data(), array->size(), "Every number of the model of hands");
        }
    }

    py::tuple fit(const py::object& points_object, const py::object& weights_object, const py::object& noise_object,
                  const py::object& bones_object, const py::object& mirrored_object, const py::object& start_object,
                  const py::object& k, const py::object& dist, const py::object& pose, const FitOptions& options) const {
        const std::vector<CameraModel> cameras = camera_models(k, dist, pose, py::none());
        const py::ssize_t views = static_cast<py::ssize_t>(cameras.size());
        const Float64Array start = float64_of_shape(start_object, "start_mm", "(H, 21, 3)", {kAny, kJoints, 3});
        const py::ssize_t hands = start.shape(0);
        const std::string with = " with V as in K, H = " + std::to_string(hands) + " as in start_mm";
        const Float64Array points = float64_of_shape(points_object, "points_px", ("(V, H, 21, 2)" + with).c_str(),
                                                     {views, hands, kJoints, 2});
        const Float64Array weights =
            float64_of_shape(weights_object, "weights", ("(V, H, 21)" + with).c_str(), {views, hands, kJoints});
        const Float64Array noise = float64_of_shape(noise_object, "noise_px", ("(H,)" + with).c_str(), {hands});
        const Float64Array bones = float64_of_shape(bones_object, "bones_mm", ("(H, 20)" + with).c_str(), {hands, kBones});
        const std::vector<std::uint8_t> left = flags(mirrored_object, "mirrored", "(H,)" + with, hands);
        py::array_t<double> world({hands, py::ssize_t{kJoints}, py::ssize_t{3}}),
            apart({views, hands, py::ssize_t{kJoints}});
        std::copy(start.data(), start.data() + start.size(), world.mutable_data());
        const FitInput seen{points.data(), weights.data(), noise.data(), bones.data(), left.data(), hands};
        const HandModel model{mean_.data(),  precision_.data(),   bones_.data(),     template_.data(),
                              pairs_.data(), palm_joints_.data(), template_.shape(0)};
        double *world_mm = world.mutable_data(), *apart_px = apart.mutable_data();
        {
            py::gil_scoped_release release;
            fit_hands(seen, model, cameras.data(), views, options, world_mm, apart_px);
        }
        return py::make_tuple(world, apart);
    }

   private:
    Float64Array mean_, precision_, bones_, template_;
    Indices pairs_, palm_joints_;
};

}  // namespace

void bind_hands(py::module_& m) {
    m.def("extent", &extent_py, py::arg("points_px"), py::arg("least_score"), py::arg("turn_rad") = 0.0);
    py::class_<FitOptions>(m, "FitOptions")
        .def(py::init([](std::int64_t steps, double arrived, double longest_step, double cauchy, double bone_std,
                         double own_bone_std, std::int64_t least_palm_joints, double least_spread, double least_scale_mm) {
                 if (steps < 0 || steps > 1000) throw py::value_error("steps must be 0 .. 1000, got " + std::to_string(steps) + ".");
                 return FitOptions{steps,        arrived,           longest_step, cauchy,        bone_std,
                                   own_bone_std, least_palm_joints, least_spread, least_scale_mm};
             }),
             py::kw_only(), py::arg("steps"), py::arg("arrived"), py::arg("longest_step"), py::arg("cauchy"),
             py::arg("bone_std"), py::arg("own_bone_std"), py::arg("least_palm_joints"), py::arg("least_spread"),
             py::arg("least_scale_mm"));
    py::class_<HandFitter>(m, "HandFitter")
        .def(py::init<const py::object&, const py::object&, const py::object&, const py::object&, const py::object&,
                      const py::object&>(),
             py::kw_only(), py::arg("mean"), py::arg("precision"), py::arg("bones"), py::arg("pairs"),
             py::arg("palm_joints"), py::arg("palm_template"))
        .def("__call__", &HandFitter::fit, py::arg("points_px"), py::arg("weights"), py::arg("noise_px"),
             py::arg("bones_mm"), py::arg("mirrored"), py::arg("start_mm"), py::arg("K"), py::arg("dist"),
             py::arg("cam_from_world"), py::arg("options"));
    m.def("longest_way", &longest_way_py, py::arg("points_px"), py::arg("chain"), py::arg("least_score"));
    m.def("mean_step", &mean_step_py, py::arg("a"), py::arg("b"));
    m.def("moved_back", &moved_back_py, py::arg("points_px"), py::arg("before"), py::arg("share"), py::kw_only(),
          py::arg("joints"), py::arg("most"));
    m.def("support", &support_py, py::arg("drawn_px"), py::arg("read_px"), py::arg("weight"), py::arg("reach_px"));
    m.def("readings", &readings_py, py::arg("points_px"), py::kw_only(), py::arg("joints"), py::arg("least"),
          py::arg("usual_score"), py::arg("score_fall"));
    m.def("right_handedness", &right_handedness_py, py::arg("joints_mm"), py::kw_only(), py::arg("palm"),
          py::arg("template"), py::arg("fingers"), py::arg("least_palm_joints"), py::arg("least_spread"),
          py::arg("least_scale_mm"));
    m.def("hand_frames", &hand_frames_py, py::arg("joints_mm"), py::arg("mirrored"), py::kw_only(), py::arg("palm"),
          py::arg("template"), py::arg("least_palm_joints"), py::arg("least_spread"), py::arg("least_scale_mm"));
    m.def("into_frames", &into_frames_py, py::arg("points_mm"), py::arg("mirrored"), py::arg("rotation"),
          py::arg("origin_mm"), py::arg("scale_mm"));
    m.def("out_of_frames", &out_of_frames_py, py::arg("points"), py::arg("mirrored"), py::arg("rotation"),
          py::arg("origin_mm"), py::arg("scale_mm"));
    m.def("mean_apart", &mean_apart_py, py::arg("a_mm"), py::arg("b_mm"));
    m.def("blend_skin", &blend_skin_py, py::arg("seen_mm"), py::arg("computed_mm"), py::kw_only(), py::arg("share"),
          py::arg("reach_mm"));
    m.def("one_euro", &one_euro_py, py::arg("now"), py::arg("last"), py::arg("speed"), py::kw_only(), py::arg("dt_s"),
          py::arg("size"), py::arg("min_cutoff_hz"), py::arg("beta"), py::arg("d_cutoff_hz"));
}

}  // namespace rt_hands
