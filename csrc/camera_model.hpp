// One calibrated camera as the kernels want it: OpenCV pinhole with five distortion terms, float64.
#pragma once

namespace rt_hands {

struct CameraModel {
    double fx, fy, cx, cy;          // px
    double k1, k2, p1, p2, k3;      // OpenCV order
    double rotation[9];             // cam_from_world, row-major
    double translation_mm[3];
    double width_px, height_px;     // 0 when no size is known: then nothing is inside
    double r2_limit;                // (x/z)^2 + (y/z)^2 up to which the lens model is one-to-one; see fold_radius2
    bool distorted;                 // any of the five terms is not zero
};

// Squared normalised radius at which the radial model r (1 + k1 r^2 + k2 r^4 + k3 r^6) stops growing, or +inf.
// Beyond it the polynomial folds back: points far outside the lens would land inside the picture.
// Tangential terms are small and left out.
double fold_radius2(double k1, double k2, double k3);

}  // namespace rt_hands
