// Small sums over the points of one hand, for tracking: in Python each costs a dozen array calls a frame.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace rt_hands {

// Smallest upright box, seen from axes turned clockwise by an angle, round those of points (count, 3: x, y, score) that
// score at least so much. x = c x' - s y', y = s x' + c y' with c, s of the angle. NaN where a coordinate is not finite.
struct Extent {
    double x0, y0, x1, y1;
    std::int64_t count;
};

inline Extent extent(const double* points, std::int64_t count, double least_score, double turn_rad) {
    const double c = std::cos(turn_rad), s = std::sin(turn_rad), inf = std::numeric_limits<double>::infinity();
    Extent box{inf, inf, -inf, -inf, 0};
    bool finite = true;
    for (std::int64_t i = 0; i < count; ++i, points += 3) {
        if (!(points[2] >= least_score)) continue;
        const double x = c * points[0] + s * points[1], y = c * points[1] - s * points[0];
        finite = finite && std::isfinite(x) && std::isfinite(y);
        box.x0 = x < box.x0 ? x : box.x0, box.x1 = x > box.x1 ? x : box.x1;
        box.y0 = y < box.y0 ? y : box.y0, box.y1 = y > box.y1 ? y : box.y1;
        ++box.count;
    }
    if (!finite || box.count == 0) box.x0 = box.y0 = box.x1 = box.y1 = std::numeric_limits<double>::quiet_NaN();
    return box;
}

// Means over the ways from a[i] to b[i], rows of (count, 3): x, y and one more that does not count. NaN for none.
struct MeanStep {
    double x, y, length;
};

inline MeanStep mean_step(const double* a, const double* b, std::int64_t count) {
    MeanStep sum{0, 0, 0};
    for (std::int64_t i = 0; i < count; ++i, a += 3, b += 3) {
        const double x = b[0] - a[0], y = b[1] - a[1];
        sum.x += x, sum.y += y, sum.length += std::hypot(x, y);
    }
    const auto number = static_cast<double>(count);
    return {sum.x / number, sum.y / number, sum.length / number};
}

// Longest way from a point to the next one of its chain, points (count, 3: x, y, score) of chains of `chain` each; ways
// with an end that scores less or is not finite do not count. 0 where none is left.
inline double longest_way(const double* points, std::int64_t count, std::int64_t chain, double least_score) {
    double longest = 0;
    for (std::int64_t i = 1; i < count; ++i) {
        const double *b = points + 3 * i, *a = b - 3;
        if (i % chain == 0 || !(a[2] >= least_score && b[2] >= least_score)) continue;
        const double way = std::hypot(b[0] - a[0], b[1] - a[1]);
        if (std::isfinite(way)) longest = std::max(longest, way);
    }
    return longest;
}

// A hand (points, 3: x, y, score), moved in place by a share of its way from where it was before; joints come first.
// Stays where it is if most joints (the middle one counts) moved on by `most` sizes of the hand or more: another hand.
// Points that are not finite in both stay.
inline void move_back(float* now, const float* before, std::int64_t points, std::int64_t joints, double share,
                      double most) {
    const double inf = std::numeric_limits<double>::infinity();
    double low[2] = {inf, inf}, high[2] = {-inf, -inf};
    std::vector<double> steps;
    steps.reserve(static_cast<std::size_t>(joints));
    for (std::int64_t i = 0; i < 3 * joints; i += 3) {
        const double step = std::hypot(double{now[i]} - before[i], double{now[i + 1]} - before[i + 1]);
        if (!std::isfinite(step)) continue;
        steps.push_back(step);
        for (int axis = 0; axis < 2; ++axis) {
            low[axis] = std::min(low[axis], double{now[i + axis]}), high[axis] = std::max(high[axis], double{now[i + axis]});
        }
    }
    if (steps.empty()) return;
    const auto middle = steps.begin() + static_cast<std::ptrdiff_t>(steps.size() / 2);
    std::nth_element(steps.begin(), middle, steps.end());
    if (!(*middle < most * std::max(high[0] - low[0], high[1] - low[1]))) return;
    for (std::int64_t i = 0; i < 3 * points; i += 3) {
        const double x = double{now[i]} - before[i], y = double{now[i + 1]} - before[i + 1];
        if (!std::isfinite(x + y)) continue;
        now[i] = static_cast<float>(now[i] - share * x), now[i + 1] = static_cast<float>(now[i + 1] - share * y);
    }
}

// How much a reading of a hand says the same as a hand drawn into its view, 0 .. 1: (joints, 2) px each, weight of each
// joint of the reading. A joint `reach` px off supports by half, one that is NaN not at all.
inline double support(const double* drawn, const double* read, const double* weight, std::int64_t joints, double reach) {
    double sum = 0, total = 0;
    for (std::int64_t j = 0; j < joints; ++j) {
        const double x = drawn[2 * j] - read[2 * j], y = drawn[2 * j + 1] - read[2 * j + 1];
        const double near = 1 / (1 + (x * x + y * y) / (reach * reach));
        total += weight[j];
        if (!std::isnan(near)) sum += weight[j] * near;
    }
    return sum / std::max(total, 1e-9);
}

// One step of the One-Euro filter (Casiez, Roussel, Vogel, CHI 2012) on points (count, axes). last, speed: of the step
// before, replaced by this one's. now: measured dt_s > 0 later. size: of the hand, in the points' unit.
struct OneEuro {
    double min_cutoff_hz, beta, d_cutoff_hz;
};

inline double low_pass_share(double cutoff_hz, double dt_s) {
    const double turn = 6.283185307179586 * cutoff_hz * dt_s;
    return turn / (turn + 1);
}

inline void one_euro(const OneEuro& filter, const double* now, double* last, double* speed, std::int64_t count,
                     std::int64_t axes, double dt_s, double size) {
    const double fresh = low_pass_share(filter.d_cutoff_hz, dt_s), floor = size > 1 ? size : 1;
    for (std::int64_t i = 0; i < count; ++i, now += axes, last += axes, speed += axes) {
        double square = 0;
        for (std::int64_t a = 0; a < axes; ++a) {
            speed[a] = (1 - fresh) * speed[a] + fresh / dt_s * (now[a] - last[a]);
            square += speed[a] * speed[a];
        }
        // One cutoff for all axes of a point: filtering them apart bends straight paths.
        const double cutoff_hz = filter.min_cutoff_hz + filter.beta * std::sqrt(square) / floor;
        const double share = low_pass_share(cutoff_hz, dt_s);
        for (std::int64_t a = 0; a < axes; ++a) last[a] += share * (now[a] - last[a]);
    }
}

}  // namespace rt_hands
