// Python's way to the packaged RTC: its weights by name, checked once and kept.
#include <cmath>
#include <string>
#include <vector>

#include "arrays.hpp"
#include "bindings_hands.hpp"
#include "rtc.hpp"

namespace rt_hands {
namespace {

// RTC on bone frames with its weights.
class RtcBones {
   public:
    explicit RtcBones(const py::dict& weights) : net_(model(weights)) {}

    py::tuple run(const py::object& joints_object, const py::object& valid_object) {
        const auto joints = numbers<float>(as_array(joints_object, "joints"), "joints");
        check_shape(joints, "joints", "(N, 21, 3)", {kAny, kRtcJoints, 3});
        const py::ssize_t count = joints.shape(0);
        const auto valid = numbers<float>(as_array(valid_object, "valid"), "valid");
        check_shape(valid, "valid", "(N, 21) with N as in joints", {count, kRtcJoints});
        py::array_t<float> surface({count, py::ssize_t{kRtcSkin}, py::ssize_t{3}}), confidence({count, py::ssize_t{kRtcSkin}});
        net_.run(joints.data(), valid.data(), count, surface.mutable_data(), confidence.mutable_data());
        return py::make_tuple(surface, confidence);
    }

   private:
    using Weights = py::array_t<float, py::array::c_style>;

    // One array of the network by name, finite and of that shape; kept alive.
    const Weights& kept(const py::dict& weights, const std::string& name, std::initializer_list<py::ssize_t> shape) {
        if (!weights.contains(name.c_str())) throw py::value_error("RTC lacks the weights '" + name + "'.");
        const py::array array = as_array(weights[name.c_str()], name.c_str());
        std::string wanted = "(";
        for (py::ssize_t length : shape) wanted += (wanted.size() > 1 ? ", " : "") + (length == kAny ? "N" : std::to_string(length));
        check_shape(array, name.c_str(), (wanted + ")").c_str(), shape);
        held_.push_back(numbers<float>(array, name.c_str()));
        for (py::ssize_t i = 0; i < held_.back().size(); ++i) {
            if (!std::isfinite(held_.back().data()[i])) throw py::value_error("RTC's weights '" + name + "' must be finite.");
        }
        return held_.back();
    }

    void layers(const py::dict& weights, const std::string& part, py::ssize_t inputs, py::ssize_t outputs,
                DenseLayer* out) {
        for (int i = 0; i < 3; ++i) {
            const std::string name = part + "." + std::to_string(2 * i);
            const Weights& weight = kept(weights, name + ".weight", {inputs, i == 2 ? outputs : kAny});
            const py::ssize_t width = weight.shape(1);
            out[i] = {weight.data(), kept(weights, name + ".bias", {width}).data(), inputs, width};
            inputs = width;
        }
    }

    RtcModel model(const py::dict& weights) {
        RtcModel m{};
        layers(weights, "repair", 84, 84, m.repair);
        layers(weights, "body", 164, 256, m.body);
        m.ring_along = kept(weights, "ring_along", {5, 2, 4, 1}).data();
        m.ring_offset = kept(weights, "ring_offset", {5, 2, 4, 3}).data();
        m.palm_mix = kept(weights, "palm_mix", {24, 6}).data();
        m.palm_offset = kept(weights, "palm_offset", {24, 3}).data();
        m.bone_mean = kept(weights, "bone_mean", {80}).data();
        m.bone_spread = kept(weights, "bone_spread", {80}).data();
        m.joint_mean = kept(weights, "scaling.joint_mean", {21, 3}).data();
        m.spread = *kept(weights, "scaling.spread", {}).data();
        return m;
    }

    std::vector<Weights> held_;
    RtcNet net_;
};

}  // namespace

void bind_rtc(py::module_& m) {
    py::class_<RtcBones>(m, "RtcBones")
        .def(py::init<const py::dict&>(), py::arg("weights"))
        .def("__call__", &RtcBones::run, py::arg("joints"), py::arg("valid"));
}

}  // namespace rt_hands
