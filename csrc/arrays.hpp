// What the bindings share: checks of shapes and dtypes that say what came and what was wanted, and cameras from arrays.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cmath>
#include <initializer_list>
#include <string>
#include <vector>

#include "camera_model.hpp"

namespace py = pybind11;

namespace rt_hands {

constexpr py::ssize_t kAny = -1;  // a length that is free in a wanted shape

inline std::string shape_text(const py::array& array) {
    std::string text = "(";
    for (py::ssize_t i = 0; i < array.ndim(); ++i) text += (i ? ", " : "") + std::to_string(array.shape(i));
    return text + (array.ndim() == 1 ? ",)" : ")");
}

inline std::string came(const py::array& array) {
    return "got " + shape_text(array) + " " + py::str(array.dtype()).cast<std::string>();
}

inline py::array as_array(const py::object& object, const char* name) {
    if (py::isinstance<py::array>(object)) return py::reinterpret_borrow<py::array>(object);
    py::array array = py::array::ensure(object);
    if (!array) {
        throw py::value_error(std::string(name) + " must be a NumPy array, got " +
                              py::str(py::type::of(object).attr("__name__")).cast<std::string>() + ".");
    }
    return array;
}

inline void check_shape(const py::array& array, const char* name, const char* wanted, std::initializer_list<py::ssize_t> shape) {
    bool fits = array.ndim() == static_cast<py::ssize_t>(shape.size());
    py::ssize_t axis = 0;
    for (py::ssize_t length : shape) {
        if (fits && length != kAny && array.shape(axis) != length) fits = false;
        ++axis;
    }
    if (!fits) throw py::value_error(std::string(name) + " must be " + wanted + ", " + came(array) + ".");
}

template <class T>
inline bool is_dtype(const py::array& array) {
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

inline Float64Array float64_of_shape(const py::object& object, const char* name, const char* wanted,
                              std::initializer_list<py::ssize_t> shape) {
    const py::array array = as_array(object, name);
    check_shape(array, name, wanted, shape);
    return numbers<double>(array, name);
}

inline void check_finite(const double* values, py::ssize_t count, const std::string& what) {
    for (py::ssize_t i = 0; i < count; ++i) {
        if (!std::isfinite(values[i])) {
            throw py::value_error(what + " must be finite, got " + std::to_string(values[i]) + ".");
        }
    }
}

// Eight sums at once, so that the compiler can use vectors: NaN in one of them once a number is not finite.
inline bool all_finite(const Float64Array& array) {
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

inline bool is_camera_matrix(const double* k) {
    return k[0] > 0 && k[4] > 0 && k[1] == 0 && k[3] == 0 && k[6] == 0 && k[7] == 0 && k[8] == 1;
}

// Says what is wrong with a camera, if anything is. Called only when something is: sentences cost more than checks.
inline void refuse_bad_camera(py::ssize_t view, const CameraRows& rows) {
    const std::string camera = " of camera " + std::to_string(view);
    check_finite(rows.k, 9, "K" + camera);
    check_finite(rows.dist, 5, "dist" + camera);
    check_finite(rows.pose, 12, "cam_from_world" + camera);
    if (rows.size) check_finite(rows.size, 2, "size" + camera);
    if (is_camera_matrix(rows.k)) return;
    throw py::value_error("K" + camera + " must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with fx, fy > 0 px: "
                          "the OpenCV model has no skew.");
}

inline CameraModel camera_model(const CameraRows& rows) {
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
inline std::vector<CameraModel> camera_models(const py::object& k_object, const py::object& dist_object,
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

}  // namespace rt_hands
