// All joints of a hand fitted to what many views saw of them, to the lengths of bones and to how hands are shaped.
#pragma once

#include <cstdint>

#include "camera_model.hpp"

namespace rt_hands {

constexpr int kJoints = 21, kBones = 20, kFree = 3 * kJoints;

// What hands look like, in palms and the canonical frame: mean (21, 3); precision (63, 63); lengths of bones (20), whose
// ends are the joints pairs (20, 2); palm_joints (palms): the joints that the frame is fitted to, of the template (palms, 3).
struct HandModel {
    const double *mean, *precision, *bones, *palm_template;
    const std::int64_t *pairs, *palm_joints;
    std::int64_t palms;
};

struct FitOptions {
    std::int64_t steps;      // at most
    double arrived;          // palms: where no coordinate moves further, the search ends
    double longest_step;     // palms that a joint moves in one step
    double cauchy;           // noises at which a view counts half
    double bone_std;         // of a bone's length, as a share, where it is the mean's
    double own_bone_std;     // where it is the hand's own
    std::int64_t least_palm_joints;
    double least_spread, least_scale_mm;  // of a frame: below them there is no hand
};

// What the views saw of H hands. points_px (V, H, 21, 2), weights (V, H, 21), of a point that counts 0 where unseen.
// noise_px (H): of points of weight 1. bones_mm (H, 20): lengths known from the past, NaN where not. mirrored (H): left.
struct FitInput {
    const double *points_px, *weights, *noise_px, *bones_mm;
    const std::uint8_t* mirrored;
    std::int64_t hands;
};

// world_mm (H, 21, 3): in, where to start, NaN where unknown; out, the joints, all NaN for hands without a frame or
// whose numbers overflow.
// apart_px (V, H, 21): how far each view's points lie from them; NaN where unseen.
// Gauss-Newton on reprojection, with Cauchy's weights (the lens's distortion is left out of the derivative, which changes
// the way of the search, not its end), on the lengths of bones and on the shape.
void fit_hands(const FitInput& seen, const HandModel& model, const CameraModel* cameras, std::int64_t views,
               const FitOptions& options, double* world_mm, double* apart_px);

}  // namespace rt_hands
