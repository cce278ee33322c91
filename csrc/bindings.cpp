// Python's way to pictures, belief maps and rays: checks shapes and dtypes, drops the GIL. For hands: bindings_hands.cpp.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "arrays.hpp"
#include "bindings_hands.hpp"
#include "crop.hpp"
#include "decode.hpp"
#include "draw.hpp"
#include "project.hpp"
#include "simd_level.hpp"
#include "triangulate.hpp"

namespace rt_hands {
namespace {

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
    bind_hands(m);
    bind_rtc(m);
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
