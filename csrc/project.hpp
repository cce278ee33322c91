// World points into every camera at once, OpenCV's model with five distortion terms.
#pragma once

#include <cstdint>

#include "camera_model.hpp"

namespace rt_hands {

// points_mm (N, 3) world; cameras V -> points_px (V, N, 2), in_front (V, N), inside (V, N) as 0/1 bytes.
// in_front: z_cam > 0. inside: in front, within the picture (-0.5 <= x < width - 0.5; pixel centres at integers) and
// within the radius to which the lens model is one-to-one. Not in front, or not finite: NaN, NaN.
// float64: float64 throughout. float32: within 1e-4 px of that up to 2048 px; beyond, where float32 itself is up to 1.2e-4
// off, the float64 answer rounded once.
// Same model as cv2.projectPoints (OpenCV documentation, "Camera Calibration and 3D Reconstruction").
void project(const float* points_mm, std::int64_t count, const CameraModel* cameras, std::int64_t views,
             float* points_px, std::uint8_t* in_front, std::uint8_t* inside);
void project(const double* points_mm, std::int64_t count, const CameraModel* cameras, std::int64_t views,
             double* points_px, std::uint8_t* in_front, std::uint8_t* inside);

}  // namespace rt_hands
