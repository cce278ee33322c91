// What lifting says of whole hands: readings of views, which side a shape is of, skin that was seen beside skin that was
// computed. Each is a few sums over the points of one hand; in Python each costs a dozen array calls a frame.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "palm_frame.hpp"

namespace rt_hands {

// How much a joint counts by its score: exp(2 (score - usual) / fall), 0 for scores of 0 and below.
struct TrustRule {
    double usual_score, score_fall;
};

inline double trust(double score, const TrustRule& rule) {
    return score > 0 ? std::exp(2 * (std::min(score, 1.0) - rule.usual_score) / rule.score_fall) : 0;
}

// A view's reading of a hand, points (joints, 3: x, y, score): its joints that are there with a score (NaN and 0 where not,
// and all of them where fewer than `least` are), the longer side of their box (1 for none), and their mean score.
struct ReadingSums {
    double size_px, sure;
};

inline ReadingSums read_hand(const float* points, std::int64_t joints, std::int64_t least, const TrustRule& rule,
                             double* place_px, double* weight) {
    const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
    const auto there = [&](const float* p) { return std::isfinite(p[0]) && std::isfinite(p[1]) && p[2] > 0; };
    std::int64_t known = 0;
    for (std::int64_t j = 0; j < joints; ++j) known += there(points + 3 * j);
    double low[2] = {inf, inf}, high[2] = {-inf, -inf}, score = 0;
    for (std::int64_t j = 0; j < joints; ++j, points += 3, place_px += 2) {
        const bool counts = known >= least && there(points);
        weight[j] = counts ? trust(points[2], rule) : 0;
        score += counts ? points[2] : 0;
        for (int axis = 0; axis < 2; ++axis) {
            place_px[axis] = counts ? points[axis] : nan;
            if (!counts) continue;
            low[axis] = std::min(low[axis], place_px[axis]), high[axis] = std::max(high[axis], place_px[axis]);
        }
    }
    const bool any = high[0] >= low[0];
    return {any ? std::max(high[0] - low[0], high[1] - low[1]) : 1, score / static_cast<double>(joints)};
}

// How the canonical frame of a hand is found: palm, the joints that the template (palms, 3) is fitted to, and when they
// say enough.
struct FrameRule {
    const std::int64_t* palm;
    const double* palm_template;
    std::int64_t palms, least_palm_joints;
    double least_spread, least_scale_mm;
};

struct HandFrame {
    PalmFrame palm;
    bool enough, sound;  // palm joints to fit a frame to; and a frame of a hand's size that is no line
};

// Of a hand's joints, whose x is multiplied by `sign`. room: for rule.palms points.
inline HandFrame hand_frame(const double* joints_mm, double sign, const FrameRule& rule, double* room) {
    for (std::int64_t i = 0; i < rule.palms; ++i) {
        const double* p = joints_mm + 3 * rule.palm[i];
        room[3 * i] = sign * p[0], room[3 * i + 1] = p[1], room[3 * i + 2] = p[2];
    }
    HandFrame frame{palm_frame(room, rule.palm_template, rule.palms), false, false};
    frame.enough = frame.palm.joints >= rule.least_palm_joints;
    frame.sound = frame.enough && frame.palm.spread > rule.least_spread && frame.palm.scale_mm >= rule.least_scale_mm;
    return frame;
}

// Mean height of the fingers over the palm, in palms, of joints (joints, 3) whose x is multiplied by `sign`; NaN without
// a frame.
inline double height_over_palm(const double* joints_mm, double sign, const FrameRule& rule, const std::int64_t* fingers,
                               std::int64_t finger_count, double* room) {
    const HandFrame hand = hand_frame(joints_mm, sign, rule, room);
    const PalmFrame& frame = hand.palm;
    double sum = 0;
    std::int64_t known = 0;
    for (std::int64_t i = 0; i < finger_count; ++i) {
        const double* p = joints_mm + 3 * fingers[i];
        const double height = (sign * p[0] - frame.origin_mm[0]) * frame.rotation[2] +
                              (p[1] - frame.origin_mm[1]) * frame.rotation[5] +
                              (p[2] - frame.origin_mm[2]) * frame.rotation[8];
        if (std::isfinite(height)) sum += height, ++known;
    }
    if (!hand.sound || known == 0) return std::numeric_limits<double>::quiet_NaN();
    return sum / (static_cast<double>(known) * frame.scale_mm);
}

// A point of the world, x multiplied by `sign`, in a frame: rotation (3, 3) row-major, origin (3,).
inline void into_frame(const double* point_mm, double sign, const double* rotation, const double* origin_mm,
                       double scale_mm, double* out) {
    const double from[3] = {sign * point_mm[0] - origin_mm[0], point_mm[1] - origin_mm[1], point_mm[2] - origin_mm[2]};
    for (int c = 0; c < 3; ++c) {
        out[c] = (from[0] * rotation[c] + from[1] * rotation[3 + c] + from[2] * rotation[6 + c]) / scale_mm;
    }
}

// The way back.
inline void out_of_frame(const double* point, double sign, const double* rotation, const double* origin_mm,
                         double scale_mm, double* out_mm) {
    for (int r = 0; r < 3; ++r) {
        const double turned = rotation[3 * r] * point[0] + rotation[3 * r + 1] * point[1] + rotation[3 * r + 2] * point[2];
        out_mm[r] = turned * scale_mm + origin_mm[r];
    }
    out_mm[0] *= sign;
}

// Mean distance of points (count, 3) that both hands have; 0 for none.
inline double mean_apart(const double* a, const double* b, std::int64_t count) {
    double sum = 0;
    std::int64_t known = 0;
    for (std::int64_t i = 0; i < 3 * count; i += 3) {
        const double x = a[i] - b[i], y = a[i + 1] - b[i + 1], z = a[i + 2] - b[i + 2];
        const double step = std::sqrt(x * x + y * y + z * z);
        if (std::isfinite(step)) sum += step, ++known;
    }
    return sum / static_cast<double>(std::max<std::int64_t>(known, 1));
}

// Skin points (count, 3) that were triangulated, NaN where not, mixed in place with those computed from the joints. share
// of a triangulated one: 0 .. 1, half of that where it lies reach_mm from the computed one, less and less beyond.
inline void blend_skin(double* seen_mm, const double* computed_mm, std::int64_t count, double share, double reach_mm) {
    for (std::int64_t i = 0; i < 3 * count; i += 3) {
        const double x = seen_mm[i] - computed_mm[i], y = seen_mm[i + 1] - computed_mm[i + 1],
                     z = seen_mm[i + 2] - computed_mm[i + 2];
        const double near = 1 / (1 + (x * x + y * y + z * z) / (reach_mm * reach_mm));
        for (int axis = 0; axis < 3; ++axis) {
            const double own = computed_mm[i + axis];
            seen_mm[i + axis] = std::isnan(near) ? own : own + share * near * (seen_mm[i + axis] - own);
        }
    }
}

}  // namespace rt_hands
