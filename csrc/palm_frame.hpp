// The similarity that best takes a template of the palm to palm joints: the canonical frame of a hand.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace rt_hands {

// world = origin_mm + scale_mm * rotation * template, rotation row-major. spread: second over first singular value of the
// fit; near 0 the joints lie on a line and say nothing of the turn about it. joints: how many there were.
struct PalmFrame {
    double rotation[9], origin_mm[3], scale_mm, spread;
    std::int64_t joints;
};

// Turns columns p and q of m (3x3, row-major) so that they are orthogonal, and v along with them.
inline void rotate_columns(double* m, double* v, int p, int q) {
    double pp = 0, qq = 0, pq = 0;
    for (int r = 0; r < 3; ++r) {
        const double a = m[3 * r + p], b = m[3 * r + q];
        pp += a * a, qq += b * b, pq += a * b;
    }
    if (!(std::fabs(pq) > 1e-300)) return;
    const double zeta = (qq - pp) / (2 * pq), t = std::copysign(1.0, zeta) / (std::fabs(zeta) + std::hypot(1.0, zeta));
    const double c = 1 / std::sqrt(1 + t * t), s = c * t;
    for (double* matrix : {m, v}) {
        for (int r = 0; r < 3; ++r) {
            const double a = matrix[3 * r + p], b = matrix[3 * r + q];
            matrix[3 * r + p] = c * a - s * b, matrix[3 * r + q] = s * a + c * b;
        }
    }
}

inline void cross(const double* a, const double* b, double* out) {
    out[0] = a[1] * b[2] - a[2] * b[1], out[1] = a[2] * b[0] - a[0] * b[2], out[2] = a[0] * b[1] - a[1] * b[0];
}

// points_mm, template_palms: (count, 3); points that are not finite don't count. Umeyama, "Least-squares estimation of
// transformation parameters between two point patterns", PAMI 1991. The SVD is Hestenes' one-sided Jacobi; the third
// directions are cross products, which makes the turn a proper one and the sign of the least singular value right.
inline PalmFrame palm_frame(const double* points_mm, const double* template_palms, std::int64_t count) {
    PalmFrame frame{};
    double middle_mm[3] = {}, centre[3] = {}, m[9] = {}, variance = 0;
    const auto there = [&](std::int64_t i) {
        const double* p = points_mm + 3 * i;
        return (p[0] - p[0]) + (p[1] - p[1]) + (p[2] - p[2]) == 0;
    };
    for (std::int64_t i = 0; i < count; ++i) {
        if (!there(i)) continue;
        ++frame.joints;
        for (int k = 0; k < 3; ++k) middle_mm[k] += points_mm[3 * i + k], centre[k] += template_palms[3 * i + k];
    }
    const double share = 1.0 / static_cast<double>(frame.joints > 0 ? frame.joints : 1);
    for (int k = 0; k < 3; ++k) middle_mm[k] *= share, centre[k] *= share;
    for (std::int64_t i = 0; i < count; ++i) {
        if (!there(i)) continue;
        for (int c = 0; c < 3; ++c) {
            const double offset = template_palms[3 * i + c] - centre[c];
            variance += share * offset * offset;
            for (int r = 0; r < 3; ++r) m[3 * r + c] += share * (points_mm[3 * i + r] - middle_mm[r]) * offset;
        }
    }
    double v[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1}, size[3];
    for (int sweep = 0; sweep < 12; ++sweep) {
        rotate_columns(m, v, 0, 1), rotate_columns(m, v, 0, 2), rotate_columns(m, v, 1, 2);
    }
    for (int c = 0; c < 3; ++c) size[c] = std::hypot(std::hypot(m[c], m[3 + c]), m[6 + c]);
    int order[3] = {0, 1, 2};
    for (int pass = 0; pass < 2; ++pass) {
        for (int i = 0; i < 2; ++i) {
            if (!(size[order[i]] >= size[order[i + 1]])) {
                const int other = order[i];
                order[i] = order[i + 1], order[i + 1] = other;
            }
        }
    }
    double left[3][3], right[3][3];
    for (int i = 0; i < 2; ++i) {
        for (int r = 0; r < 3; ++r) left[i][r] = m[3 * r + order[i]] / size[order[i]], right[i][r] = v[3 * r + order[i]];
    }
    cross(left[0], left[1], left[2]), cross(right[0], right[1], right[2]);
    double least = 0;  // the third singular value, negative where the points are a mirror image
    for (int r = 0; r < 3; ++r) {
        // m holds the left directions times the singular values; its column times v's gives it back in `right`'s sign.
        const int c = order[2];
        double along = 0;
        for (int k = 0; k < 3; ++k) along += v[3 * k + c] * right[2][k];
        least += left[2][r] * m[3 * r + c] * along;
    }
    for (int r = 0; r < 3; ++r) {
        for (int c = 0; c < 3; ++c) {
            frame.rotation[3 * r + c] = left[0][r] * right[0][c] + left[1][r] * right[1][c] + left[2][r] * right[2][c];
        }
    }
    const double trace = size[order[0]] + size[order[1]] + least;
    frame.scale_mm = trace / (variance > 1e-12 ? variance : 1e-12);
    for (int r = 0; r < 3; ++r) {
        double turned = 0;
        for (int c = 0; c < 3; ++c) turned += frame.rotation[3 * r + c] * centre[c];
        frame.origin_mm[r] = middle_mm[r] - frame.scale_mm * turned;
    }
    frame.spread = size[order[1]] / (size[order[0]] > 1e-12 ? size[order[0]] : 1e-12);
    return frame;
}

}  // namespace rt_hands
