// The only file that knows Python: checks shapes and dtypes, says what came and what was wanted, drops the GIL.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "crop.hpp"
#include "decode.hpp"
#include "draw.hpp"
#include "fit.hpp"
#include "palm_frame.hpp"
#include "points.hpp"
#include "project.hpp"
#include "simd_level.hpp"
#include "triangulate.hpp"

namespace py = pybind11;

namespace rt_hands {
namespace {

using Shape = std::vector<py::ssize_t>;

constexpr py::ssize_t kAny = -1;  // a length that is free in a wanted shape

std::string shape_text(const py::array& array) {
    std::string text = "(";
    for (py::ssize_t i = 0; i < array.ndim(); ++i) text += (i ? ", " : "") + std::to_string(array.shape(i));
    return text + (array.ndim() == 1 ? ",)" : ")");
}

std::string came(const py::array& array) {
    return "got " + shape_text(array) + " " + py::str(array.dtype()).cast<std::string>();
}

py::array as_array(const py::object& object, const char* name) {
    if (py::isinstance<py::array>(object)) return py::reinterpret_borrow<py::array>(object);
    py::array array = py::array::ensure(object);
    if (!array) {
        throw py::value_error(std::string(name) + " must be a NumPy array, got " +
                              py::str(py::type::of(object).attr("__name__")).cast<std::string>() + ".");
    }
    return array;
}

void check_shape(const py::array& array, const char* name, const char* wanted, std::initializer_list<py::ssize_t> shape) {
    bool fits = array.ndim() == static_cast<py::ssize_t>(shape.size());
    py::ssize_t axis = 0;
    for (py::ssize_t length : shape) {
        if (fits && length != kAny && array.shape(axis) != length) fits = false;
        ++axis;
    }
    if (!fits) throw py::value_error(std::string(name) + " must be " + wanted + ", " + came(array) + ".");
}

template <class T>
bool is_dtype(const py::array& array) {
    return array.dtype().equal(py::dtype::of<T>());
}

// Row-major copy (or the array itself where it already is) as T. Any real dtype is taken.
template <class T>
py::array_t<T, py::array::c_style> numbers(const py::array& array, const char* name) {
    constexpr int ready = py::array::c_style | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
    if ((array.flags() & ready) == ready && is_dtype<T>(array)) {
        return py::reinterpret_borrow<py::array_t<T, py::array::c_style>>(array);
    }
    const char kind = array.dtype().kind();
    if (kind != 'f' && kind != 'i' && kind != 'u') {
        throw py::value_error(std::string(name) + " must hold real numbers, " + came(array) + ".");
    }
    // Aligned too: a view into raw bytes may start anywhere, and not every processor reads a double from there.
    auto out = py::array_t<T, ready | py::array::forcecast>::ensure(array);
    if (!out) throw py::error_already_set();
    return out;
}

using Float64Array = py::array_t<double, py::array::c_style>;

Float64Array float64_of_shape(const py::object& object, const char* name, const char* wanted,
                              std::initializer_list<py::ssize_t> shape) {
    const py::array array = as_array(object, name);
    check_shape(array, name, wanted, shape);
    return numbers<double>(array, name);
}

void check_finite(const double* values, py::ssize_t count, const std::string& what) {
    for (py::ssize_t i = 0; i < count; ++i) {
        if (!std::isfinite(values[i])) {
            throw py::value_error(what + " must be finite, got " + std::to_string(values[i]) + ".");
        }
    }
}

// Eight sums at once, so that the compiler can use vectors: NaN in one of them once a number is not finite.
bool all_finite(const Float64Array& array) {
    const double* values = array.data();
    double lost[8] = {};
    py::ssize_t i = 0;
    for (; i + 8 <= array.size(); i += 8) {
        for (int j = 0; j < 8; ++j) lost[j] += values[i + j] * 0;
    }
    for (; i < array.size(); ++i) lost[0] += values[i] * 0;
    return lost[0] + lost[1] + lost[2] + lost[3] + lost[4] + lost[5] + lost[6] + lost[7] == 0;
}

// One camera's rows of the four arrays; size is null when none was given.
struct CameraRows {
    const double *k, *dist, *pose, *size;
};

bool is_camera_matrix(const double* k) {
    return k[0] > 0 && k[4] > 0 && k[1] == 0 && k[3] == 0 && k[6] == 0 && k[7] == 0 && k[8] == 1;
}

// Says what is wrong with a camera, if anything is. Called only when something is: sentences cost more than checks.
void refuse_bad_camera(py::ssize_t view, const CameraRows& rows) {
    const std::string camera = " of camera " + std::to_string(view);
    check_finite(rows.k, 9, "K" + camera);
    check_finite(rows.dist, 5, "dist" + camera);
    check_finite(rows.pose, 12, "cam_from_world" + camera);
    if (rows.size) check_finite(rows.size, 2, "size" + camera);
    if (is_camera_matrix(rows.k)) return;
    throw py::value_error("K" + camera + " must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with fx, fy > 0 px: "
                          "the OpenCV model has no skew.");
}

CameraModel camera_model(const CameraRows& rows) {
    const double *k = rows.k, *dist = rows.dist, *pose = rows.pose;
    CameraModel c{};
    c.fx = k[0], c.fy = k[4], c.cx = k[2], c.cy = k[5];
    c.k1 = dist[0], c.k2 = dist[1], c.p1 = dist[2], c.p2 = dist[3], c.k3 = dist[4];
    for (int row = 0; row < 3; ++row) {
        for (int column = 0; column < 3; ++column) c.rotation[3 * row + column] = pose[4 * row + column];
        c.translation_mm[row] = pose[4 * row + 3];
    }
    c.distorted = c.k1 != 0 || c.k2 != 0 || c.p1 != 0 || c.p2 != 0 || c.k3 != 0;
    c.r2_limit = fold_radius2(c.k1, c.k2, c.k3);
    if (rows.size) c.width_px = rows.size[0], c.height_px = rows.size[1];
    return c;
}

// K (V, 3, 3), dist (V, 5), cam_from_world (V, 3, 4) or (V, 4, 4), size (V, 2) or None.
std::vector<CameraModel> camera_models(const py::object& k_object, const py::object& dist_object,
                                       const py::object& pose_object, const py::object& size_object) {
    const Float64Array k = float64_of_shape(k_object, "K", "(V, 3, 3)", {kAny, 3, 3});
    const py::ssize_t views = k.shape(0);
    const std::string v = std::to_string(views);
    const Float64Array dist =
        float64_of_shape(dist_object, "dist", ("(V, 5) with V = " + v + " as in K").c_str(), {views, 5});
    py::array pose_array = as_array(pose_object, "cam_from_world");
    const bool square = pose_array.ndim() == 3 && pose_array.shape(1) == 4;
    check_shape(pose_array, "cam_from_world", ("(V, 3, 4) or (V, 4, 4) with V = " + v + " as in K").c_str(),
                {views, square ? 4 : 3, 4});
    const Float64Array pose = numbers<double>(pose_array, "cam_from_world");
    Float64Array size;
    if (!size_object.is_none()) {
        size = float64_of_shape(size_object, "size", ("(V, 2) with V = " + v + " as in K").c_str(), {views, 2});
    }
    bool sound = all_finite(k) && all_finite(dist) && all_finite(pose) && all_finite(size);
    for (py::ssize_t i = 0; i < views; ++i) sound &= is_camera_matrix(k.data() + 9 * i);
    std::vector<CameraModel> cameras;
    cameras.reserve(static_cast<std::size_t>(views));
    for (py::ssize_t i = 0; i < views; ++i) {
        const CameraRows rows{k.data() + 9 * i, dist.data() + 5 * i, pose.data() + (square ? 16 : 12) * i,
                              size_object.is_none() ? nullptr : size.data() + 2 * i};
        if (!sound) refuse_bad_camera(i, rows);
        cameras.push_back(camera_model(rows));
    }
    return cameras;
}

PeakMethod peak_method(const std::string& name) {
    if (name == "mean5x5") return PeakMethod::mean5x5;
    if (name == "mean5x5_sub") return PeakMethod::mean5x5_sub;
    if (name == "squares9x9") return PeakMethod::squares9x9;
    if (name == "log_parabola") return PeakMethod::log_parabola;
    throw py::value_error("method must be 'mean5x5', 'mean5x5_sub', 'squares9x9' or 'log_parabola', got '" + name + "'.");
}

MapType map_type(const py::array& maps) {
    if (is_dtype<float>(maps)) return MapType::float32;
    if (maps.dtype().equal(py::dtype("float16"))) return MapType::float16;
    if (is_dtype<std::uint8_t>(maps)) return MapType::uint8;
    throw py::value_error("maps must be float32, float16 or uint8, " + came(maps) + ".");
}

// Cell -> pixel: x_px = x_cell * w_px / W, then the affine when there is one.
std::vector<double> image_from_map(const py::array& maps, const py::object& size_object, const py::object& affine_object) {
    const bool sized = !size_object.is_none(), mapped = !affine_object.is_none();
    if (!sized && !mapped) {
        throw py::value_error("Pass size (B, 2) = w, h of the picture the maps cover in px, or affine (B, 2, 3), or both.");
    }
    const py::ssize_t batch = maps.shape(0);
    const std::string with_batch = " with B = " + std::to_string(batch) + " as in maps";
    Float64Array size, affine;
    if (sized) {
        size = float64_of_shape(size_object, "size", ("(B, 2)" + with_batch).c_str(), {batch, 2});
        check_finite(size.data(), 2 * batch, "size");
    }
    if (mapped) {
        affine = float64_of_shape(affine_object, "affine", ("(B, 2, 3)" + with_batch).c_str(), {batch, 2, 3});
        check_finite(affine.data(), 6 * batch, "affine");
    }
    std::vector<double> out(static_cast<std::size_t>(6 * batch));
    for (py::ssize_t b = 0; b < batch; ++b) {
        const double sx = sized ? size.data()[2 * b] / static_cast<double>(maps.shape(3)) : 1;
        const double sy = sized ? size.data()[2 * b + 1] / static_cast<double>(maps.shape(2)) : 1;
        const double identity[6] = {1, 0, 0, 0, 1, 0};
        const double* a = mapped ? affine.data() + 6 * b : identity;
        const double row[6] = {a[0] * sx, a[1] * sy, a[2], a[3] * sx, a[4] * sy, a[5]};
        std::copy(row, row + 6, out.begin() + 6 * b);
    }
    return out;
}

py::array rows_together(const py::array& maps) {
    const py::ssize_t item = maps.itemsize();
    const bool together = (maps.shape(3) <= 1 || maps.strides(3) == item) &&
                          (maps.shape(2) <= 1 || maps.strides(2) == item * maps.shape(3));
    if (together) return maps;
    return py::array::ensure(maps, py::array::c_style);
}

py::array_t<float> decode_heatmaps_py(const py::object& maps_object, const py::object& size, const py::object& affine,
                                      const std::string& method_name) {
    py::array maps = as_array(maps_object, "maps");
    check_shape(maps, "maps", "(B, K, h, w)", {kAny, kAny, kAny, kAny});
    const MapType type = map_type(maps);
    const PeakMethod method = peak_method(method_name);
    if (maps.shape(2) == 0 || maps.shape(3) == 0) {
        throw py::value_error("maps must have cells (h, w >= 1), " + came(maps) + ".");
    }
    const std::vector<double> to_image = image_from_map(maps, size, affine);
    py::array_t<float> points({maps.shape(0), maps.shape(1), py::ssize_t{3}});
    if (points.size() == 0) return points;
    maps = rows_together(maps);
    if (!maps) throw py::error_already_set();
    const MapBatch batch{static_cast<const unsigned char*>(maps.data()), type, maps.shape(0), maps.shape(1),
                         maps.shape(2), maps.shape(3), maps.strides(0), maps.strides(1)};
    float* out = points.mutable_data();
    py::gil_scoped_release release;
    decode_heatmaps(batch, to_image.data(), method, out);
    return points;
}

// A picture whose pixels lie together, as it is or copied; rows may be anywhere.
py::array picture_array(const py::object& object, const std::string& name) {
    py::array picture = as_array(object, name.c_str());
    check_shape(picture, name.c_str(), "(h, w, 3) uint8", {kAny, kAny, 3});
    if (!is_dtype<std::uint8_t>(picture)) throw py::value_error(name + " must be (h, w, 3) uint8, " + came(picture) + ".");
    if (picture.strides(2) != 1 || picture.strides(1) != 3) picture = py::array::ensure(picture, py::array::c_style);
    if (!picture) throw py::error_already_set();
    const double bytes = static_cast<double>(picture.shape(0)) * std::fabs(static_cast<double>(picture.strides(0)));
    if (bytes >= 2147483648.0 || picture.shape(1) > 500000000) {
        throw py::value_error(name + " must span less than 2 GiB, " + came(picture) + ".");
    }
    return picture;
}

// An array to be written in place: C-contiguous and of the right kind, never a copy.
template <class T>
T* writable(const py::object& object, const char* name, const char* wanted) {
    py::array array = as_array(object, name);
    const bool ready = array.is(object) && array.writeable() && (array.flags() & py::array::c_style) && is_dtype<T>(array) &&
                       reinterpret_cast<std::uintptr_t>(array.data()) % alignof(T) == 0;
    if (!ready) throw py::value_error(std::string(name) + " must be a writable, C-contiguous " + wanted + ", " + came(array) + ".");
    return static_cast<T*>(array.mutable_data());
}

void crop_rgb_py(const py::sequence& pictures, const py::object& affine_object, const py::object& out_object) {
    const auto count = static_cast<py::ssize_t>(pictures.size());
    const std::string b = std::to_string(count);
    const Float64Array affine = float64_of_shape(
        affine_object, "picture_from_input", ("(B, 2, 3) with B = " + b + " as in pictures").c_str(), {count, 2, 3});
    check_finite(affine.data(), affine.size(), "picture_from_input");
    const py::array out = as_array(out_object, "out");
    check_shape(out, "out", ("(B, 3, n, n) float32 with B = " + b + " as in pictures").c_str(), {count, 3, kAny, kAny});
    const py::ssize_t side = out.shape(2);
    check_shape(out, "out", "(B, 3, n, n) float32, as high as wide", {count, 3, side, side});
    float* to = writable<float>(out_object, "out", "(B, 3, n, n) float32 array");
    std::vector<py::array> held;
    std::vector<CropJob> jobs;
    for (py::ssize_t i = 0; i < count; ++i) {
        held.push_back(picture_array(pictures[static_cast<std::size_t>(i)], "pictures[" + std::to_string(i) + "]"));
        const py::array& picture = held.back();
        CropJob job{static_cast<const std::uint8_t*>(picture.data()), picture.shape(1), picture.shape(0),
                    static_cast<std::ptrdiff_t>(picture.strides(0)), {}};
        std::copy(affine.data() + 6 * i, affine.data() + 6 * i + 6, job.picture_from_input);
        jobs.push_back(job);
    }
    py::gil_scoped_release release;
    crop_rgb(jobs.data(), count, side, to);
}

void draw_py(const py::object& image_object, const py::object& strokes_object, const py::object& colours_object) {
    const char* wanted = "a writable (h, w, 3) uint8 array whose rows lie together";
    py::array image = as_array(image_object, "image");
    check_shape(image, "image", wanted, {kAny, kAny, 3});
    const bool ready = image.is(image_object) && image.writeable() && is_dtype<std::uint8_t>(image) &&
                       (image.size() == 0 || (image.strides(2) == 1 && (image.shape(1) == 1 || image.strides(1) == 3)));
    if (!ready) throw py::value_error(std::string("image must be ") + wanted + ", " + came(image) + ".");
    const py::array given = as_array(strokes_object, "strokes");
    check_shape(given, "strokes", "(N, 5): x0, y0, x1, y1, width in px", {kAny, 5});
    const auto strokes = numbers<float>(given, "strokes");
    const py::array colours_array = as_array(colours_object, "colours");
    const std::string with_n = "(N, 3) uint8 BGR with N = " + std::to_string(strokes.shape(0)) + " as in strokes";
    check_shape(colours_array, "colours", with_n.c_str(), {strokes.shape(0), 3});
    if (!is_dtype<std::uint8_t>(colours_array)) {
        throw py::value_error("colours must be " + with_n + ", " + came(colours_array) + ".");
    }
    const auto colours = numbers<std::uint8_t>(colours_array, "colours");
    const Canvas canvas{static_cast<std::uint8_t*>(image.mutable_data()), image.shape(1), image.shape(0),
                        static_cast<std::ptrdiff_t>(image.strides(0))};
    py::gil_scoped_release release;
    draw_strokes(canvas, strokes.data(), colours.data(), strokes.shape(0));
}

template <class T>
py::tuple project_typed(const py::array& points_object, const std::vector<CameraModel>& cameras) {
    const auto points = numbers<T>(points_object, "points");
    const py::ssize_t count = points.shape(0), views = static_cast<py::ssize_t>(cameras.size());
    py::array_t<T> pixels({views, count, py::ssize_t{2}});
    py::array_t<bool> in_front({views, count}), inside({views, count});
    T* px = pixels.mutable_data();
    auto* front = reinterpret_cast<std::uint8_t*>(in_front.mutable_data());
    auto* in = reinterpret_cast<std::uint8_t*>(inside.mutable_data());
    {
        py::gil_scoped_release release;
        project(points.data(), count, cameras.data(), views, px, front, in);
    }
    return py::make_tuple(pixels, in_front, inside);
}

py::tuple project_py(const py::object& points_object, const py::object& k, const py::object& dist,
                     const py::object& cam_from_world, const py::object& size) {
    const py::array points = as_array(points_object, "points");
    check_shape(points, "points", "(N, 3) in mm", {kAny, 3});
    const bool single = is_dtype<float>(points);
    if (!single && !is_dtype<double>(points)) {
        throw py::value_error("points must be float32 or float64, " + came(points) + ".");
    }
    const std::vector<CameraModel> cameras = camera_models(k, dist, cam_from_world, size);
    return single ? project_typed<float>(points, cameras) : project_typed<double>(points, cameras);
}

void check_option(double value, const char* name) {
    if (!(value >= 0)) {
        throw py::value_error(std::string(name) + " must be 0 or more, got " + std::to_string(value) + ".");
    }
}

py::tuple triangulate_py(const py::object& points_object, const py::object& scores_object, const py::object& k,
                         const py::object& dist, const py::object& cam_from_world, double min_score,
                         double max_residual_px, bool reject) {
    const std::vector<CameraModel> cameras = camera_models(k, dist, cam_from_world, py::none());
    const py::ssize_t views = static_cast<py::ssize_t>(cameras.size());
    const std::string v = std::to_string(views);
    const Float64Array points = float64_of_shape(points_object, "points_px",
                                                 ("(V, N, 2) with V = " + v + " as in K").c_str(), {views, kAny, 2});
    const py::ssize_t count = points.shape(1);
    const Float64Array scores =
        float64_of_shape(scores_object, "scores",
                         ("(V, N) = (" + v + ", " + std::to_string(count) + ") as in points_px").c_str(), {views, count});
    check_option(min_score, "min_score");
    check_option(max_residual_px, "max_residual_px");
    py::array_t<double> points_mm({count, py::ssize_t{3}}), residual_px(count);
    py::array_t<std::int64_t> views_used(count);
    py::array_t<bool> used({views, count});
    double *mm = points_mm.mutable_data(), *residual = residual_px.mutable_data();
    std::int64_t* number = views_used.mutable_data();
    auto* mask = reinterpret_cast<std::uint8_t*>(used.mutable_data());
    {
        py::gil_scoped_release release;
        triangulate(points.data(), scores.data(), count, cameras.data(), views, {min_score, max_residual_px, reject}, mm,
                    residual, number, mask);
    }
    return py::make_tuple(points_mm, residual_px, views_used, used);
}

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

py::tuple palm_frames_py(const py::object& points_object, const py::object& template_object) {
    const Float64Array points = float64_of_shape(points_object, "points_mm", "(N, P, 3) in mm", {kAny, kAny, 3});
    const py::ssize_t count = points.shape(0), palms = points.shape(1);
    const std::string wanted = "(P, 3) with P = " + std::to_string(palms) + " as in points_mm";
    const Float64Array shape = float64_of_shape(template_object, "template", wanted.c_str(), {palms, 3});
    check_finite(shape.data(), 3 * palms, "template");
    py::array_t<double> rotation({count, py::ssize_t{3}, py::ssize_t{3}}), origin({count, py::ssize_t{3}}), scale(count),
        spread(count);
    for (py::ssize_t i = 0; i < count; ++i) {
        const PalmFrame frame = palm_frame(points.data() + 3 * palms * i, shape.data(), palms);
        std::copy(frame.rotation, frame.rotation + 9, rotation.mutable_data() + 9 * i);
        std::copy(frame.origin_mm, frame.origin_mm + 3, origin.mutable_data() + 3 * i);
        scale.mutable_data()[i] = frame.scale_mm, spread.mutable_data()[i] = frame.spread;
    }
    return py::make_tuple(rotation, origin, scale, spread);
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
          pairs_(joints(pairs, "pairs", "(20, 2)", {kBones, 2})),
          palm_joints_(joints(palm_joints, "palm_joints", "(P,) with P as in palm_template", {template_.shape(0)})) {
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
        const py::array mirrored = as_array(mirrored_object, "mirrored");
        check_shape(mirrored, "mirrored", ("(H,)" + with).c_str(), {hands});
        if (!is_dtype<bool>(mirrored)) throw py::value_error("mirrored must be bool, " + came(mirrored) + ".");
        std::vector<std::uint8_t> left(static_cast<std::size_t>(hands));
        for (py::ssize_t i = 0; i < hands; ++i) left[i] = *static_cast<const bool*>(mirrored.data(i));
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
    using Indices = py::array_t<std::int64_t, py::array::c_style>;

    static Indices joints(const py::object& object, const char* name, const char* wanted,
                          std::initializer_list<py::ssize_t> shape) {
        const py::array array = as_array(object, name);
        check_shape(array, name, wanted, shape);
        const Indices out = numbers<std::int64_t>(array, name);
        for (py::ssize_t i = 0; i < out.size(); ++i) {
            if (out.data()[i] < 0 || out.data()[i] >= kJoints) {
                throw py::value_error(std::string(name) + " must be joints 0 .. 20, got " + std::to_string(out.data()[i]) + ".");
            }
        }
        return out;
    }

    Float64Array mean_, precision_, bones_, template_;
    Indices pairs_, palm_joints_;
};

std::uint64_t read_floor_py(const py::object& object) {
    const py::array array = as_array(object, "data");
    if (!(array.flags() & py::array::c_style)) throw py::value_error("data must be C-contiguous, " + came(array) + ".");
    const auto* data = static_cast<const unsigned char*>(array.data());
    const auto bytes = static_cast<std::size_t>(array.nbytes());
    py::gil_scoped_release release;
    return read_floor(data, bytes);
}

std::vector<std::string> level_names() {
    std::vector<std::string> names;
    for (SimdLevel level : available_simd_levels()) names.push_back(simd_level_name(level));
    return names;
}

}  // namespace
}  // namespace rt_hands

PYBIND11_MODULE(_core, m) {
    using namespace rt_hands;
    m.doc() = "Crops, decode, drawing, projection and triangulation in C++. Contracts and types: _core.pyi.";
    m.def("decode_heatmaps", &decode_heatmaps_py, py::arg("maps"), py::arg("size") = py::none(),
          py::arg("affine") = py::none(), py::kw_only(), py::arg("method") = "mean5x5");
    m.def("crop_rgb", &crop_rgb_py, py::arg("pictures"), py::arg("picture_from_input"), py::arg("out"));
    m.def("draw", &draw_py, py::arg("image"), py::arg("strokes"), py::arg("colours"));
    m.def("extent", &extent_py, py::arg("points_px"), py::arg("least_score"), py::arg("turn_rad") = 0.0);
    m.def("palm_frames", &palm_frames_py, py::arg("points_mm"), py::arg("template"));
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
    m.def("mean_step", &mean_step_py, py::arg("a"), py::arg("b"));
    m.def("moved_back", &moved_back_py, py::arg("points_px"), py::arg("before"), py::arg("share"), py::kw_only(),
          py::arg("joints"), py::arg("most"));
    m.def("support", &support_py, py::arg("drawn_px"), py::arg("read_px"), py::arg("weight"), py::arg("reach_px"));
    m.def("one_euro", &one_euro_py, py::arg("now"), py::arg("last"), py::arg("speed"), py::kw_only(), py::arg("dt_s"),
          py::arg("size"), py::arg("min_cutoff_hz"), py::arg("beta"), py::arg("d_cutoff_hz"));
    m.def("project", &project_py, py::arg("points"), py::arg("K"), py::arg("dist"), py::arg("cam_from_world"),
          py::arg("size"));
    m.def("triangulate", &triangulate_py, py::arg("points_px"), py::arg("scores"), py::arg("K"), py::arg("dist"),
          py::arg("cam_from_world"), py::kw_only(), py::arg("min_score") = 0.0, py::arg("max_residual_px") = 10.0,
          py::arg("reject") = true);
#ifdef __VERSION__
    m.attr("compiler") = __VERSION__;
#else
    m.attr("compiler") = "MSVC " + std::to_string(_MSC_VER);
#endif
    m.def("simd_level", [] { return simd_level_name(simd_level()); });
    m.def("simd_levels", &level_names);
    m.def("set_simd_level", [](const std::string& name) { set_simd_level(simd_level_from_name(name)); }, py::arg("level"));
    m.def("_read_floor", &read_floor_py, py::arg("data"));
}
