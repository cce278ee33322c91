// Many views of the same points to 3D: score-weighted, robust to outlying views.
#pragma once

#include <cstdint>

#include "camera_model.hpp"

namespace rt_hands {

struct TriangulateOptions {
    double min_score;         // views scored below it (or not above 0) are not used
    double max_residual_px;   // a view further than this from the reprojected point is not used
    bool reject;              // false: every usable view counts, whatever its residual
};

// points_px (V, N, 2), scores (V, N) -> points_mm (N, 3) world, residual_px (N,), views (N,), used (V, N) 0/1.
// The answer minimises sum(score * residual_px^2) over the views used. residual_px is its score-weighted RMS.
// Fewer than two usable views, or rays without parallax: NaN, NaN, 0.
// Hartley & Zisserman, Multiple View Geometry, 12.2 (linear start) and 4.7 (robust estimation).
void triangulate(const double* points_px, const double* scores, std::int64_t count, const CameraModel* cameras,
                 std::int64_t views, const TriangulateOptions& options, double* points_mm, double* residual_px,
                 std::int64_t* views_used, std::uint8_t* used);

}  // namespace rt_hands
