#include "kernels.hpp"

#include <vector>

namespace rt_hands {

const Kernels& active_kernels() {
#if RT_HANDS_X86_LEVELS
    switch (simd_level()) {
        case SimdLevel::avx512: return kAvx512Kernels;
        case SimdLevel::avx2: return kAvx2Kernels;
        default: break;
    }
#endif
    return kBaselineKernels;
}

void decode_heatmaps(const MapBatch& maps, const double* image_from_map, PeakMethod method, float* points) {
    active_kernels().decode(maps, image_from_map, method, points);
}

std::uint64_t read_floor(const unsigned char* data, std::size_t bytes) {
    return active_kernels().read_floor(data, bytes);
}

void draw_strokes(const Canvas& canvas, const float* strokes, const std::uint8_t* colours, std::int64_t count) {
    active_kernels().draw_strokes(canvas, strokes, colours, count);
}

void dense_pair(const DenseLayer& layer, const float* from, float* to) { active_kernels().dense_pair(layer, from, to); }

void project(const float* points_mm, std::int64_t count, const CameraModel* cameras, std::int64_t views,
             float* points_px, std::uint8_t* in_front, std::uint8_t* inside) {
    active_kernels().project_f32(points_mm, count, cameras, views, points_px, in_front, inside);
}

void project(const double* points_mm, std::int64_t count, const CameraModel* cameras, std::int64_t views,
             double* points_px, std::uint8_t* in_front, std::uint8_t* inside) {
    active_kernels().project_f64(points_mm, count, cameras, views, points_px, in_front, inside);
}

void triangulate(const double* points_px, const double* scores, std::int64_t count, const CameraModel* cameras,
                 std::int64_t views, const TriangulateOptions& options, double* points_mm, double* residual_px,
                 std::int64_t* views_used, std::uint8_t* used) {
    // Eight lanes-wide values a view, for the group and for its hypotheses, six on the way to directions, each of 64 bytes
    // at most; an index and a residual.
    std::vector<unsigned char> workspace(static_cast<std::size_t>(views) * ((2 * 8 + 6) * 64 + 16) + 64);
    active_kernels().triangulate(points_px, scores, count, cameras, views, options, workspace.data(), points_mm,
                                 residual_px, views_used, used);
}

void fit_hands(const FitInput& seen, const HandModel& model, const CameraModel* cameras, std::int64_t views,
               const FitOptions& options, double* world_mm, double* apart_px) {
    std::vector<double> drawn_px(static_cast<std::size_t>(views * kJoints * 2));
    std::vector<std::uint8_t> masks(static_cast<std::size_t>(2 * views * kJoints));
    const FitSpace space{drawn_px.data(), masks.data(), active_kernels().project_f64};
    active_kernels().fit_hands(seen, model, cameras, views, options, space, world_mm, apart_px);
}

}  // namespace rt_hands
