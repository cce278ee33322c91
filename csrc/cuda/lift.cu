// Joints in mm to dense hands in mm and in every view, round the RTC network: canonicalise, (RTC), place, project.
// The same answers as rt_hands/lifting/canonical.py and csrc/project.hpp.
#include "common.cuh"

namespace rt_hands {

constexpr int kJoints = 21, kSurface = 64, kHand = kJoints + kSurface, kPalm = 6;

// The similarity of one hand: world = mirror(origin_mm + scale_mm * rotation @ canonical).
struct Frame {
    double rotation[9], origin_mm[3], scale_mm, present;  // present: 1 or 0
};

// OpenCV pinhole, k1 k2 p1 p2 k3, cam_from_world.
struct View {
    double fx, fy, cx, cy, k1, k2, p1, p2, k3, rotation[9], translation_mm[3];
};

__device__ inline double dot3(const double* a, const double* b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

__device__ inline void cross3(const double* a, const double* b, double* out) {
    out[0] = a[1] * b[2] - a[2] * b[1];
    out[1] = a[2] * b[0] - a[0] * b[2];
    out[2] = a[0] * b[1] - a[1] * b[0];
}

// Turns columns p and q (stored as rows) so that those of b are orthogonal; true where they were already.
__device__ inline bool turn_pair(double (*b)[3], double (*v)[3], int p, int q) {
    const double alpha = dot3(b[p], b[p]), beta = dot3(b[q], b[q]), gamma = dot3(b[p], b[q]);
    if (gamma * gamma <= 1e-30 * alpha * beta) return true;
    const double zeta = (beta - alpha) / (2 * gamma);
    const double t = copysign(1.0, zeta) / (fabs(zeta) + sqrt(1 + zeta * zeta));
    const double c = 1 / sqrt(1 + t * t), s = c * t;
    for (int i = 0; i < 3; ++i) {
        const double bp = b[p][i], vp = v[p][i];
        b[p][i] = c * bp - s * b[q][i], b[q][i] = s * bp + c * b[q][i];
        v[p][i] = c * vp - s * v[q][i], v[q][i] = s * vp + c * v[q][i];
    }
    return false;
}

// The proper rotation nearest to a 3x3 matrix, given by its columns, which become orthogonal (one-sided Jacobi SVD).
// sigma: largest, second, and smallest singular value, the last with the sign of the determinant.
// False where the matrix has rank below two.
__device__ inline bool nearest_rotation(double (*b)[3], double* rotation, double* sigma) {
    double v[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
    RT_HANDS_ROLLED
    for (int sweep = 0; sweep < 30; ++sweep) {
        const bool first = turn_pair(b, v, 0, 1), second = turn_pair(b, v, 0, 2), third = turn_pair(b, v, 1, 2);
        if (first && second && third) break;
    }
    int order[3] = {0, 1, 2};
    for (int i = 0; i < 2; ++i)
        for (int j = 0; j < 2 - i; ++j)
            if (dot3(b[order[j]], b[order[j]]) < dot3(b[order[j + 1]], b[order[j + 1]])) {
                const int keep = order[j];
                order[j] = order[j + 1], order[j + 1] = keep;
            }
    double u[3][3], w[3][3];
    for (int k = 0; k < 2; ++k) {
        sigma[k] = sqrt(dot3(b[order[k]], b[order[k]]));
        if (!(sigma[k] > 0)) return false;
        for (int i = 0; i < 3; ++i) u[k][i] = b[order[k]][i] / sigma[k], w[k][i] = v[order[k]][i];
    }
    // Third directions by right hand, so that the rotation is proper even where the points lie in a plane.
    cross3(u[0], u[1], u[2]);
    cross3(w[0], w[1], w[2]);
    sigma[2] = dot3(b[order[2]], u[2]) * copysign(1.0, dot3(w[2], v[order[2]]));
    for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 3; ++j)
            rotation[3 * i + j] = u[0][i] * w[0][j] + u[1][i] * w[1][j] + u[2][i] * w[2][j];
    return true;
}

// Umeyama's fit of the palm's template (6, 3) to the palm joints that are there; palm (6, 3) is mirrored already.
__device__ inline void fit_frame(const double (*palm)[3], const bool* there, const double* palm_template,
                                 double min_scale_mm, double min_spread, Frame* frame) {
    int count = 0;
    double mean[3] = {0, 0, 0}, template_mean[3] = {0, 0, 0};
    RT_HANDS_ROLLED
    for (int k = 0; k < kPalm; ++k) {
        if (!there[k]) continue;
        ++count;
        for (int i = 0; i < 3; ++i) mean[i] += palm[k][i], template_mean[i] += palm_template[3 * k + i];
    }
    frame->present = 0;
    if (count < 3) return;
    for (int i = 0; i < 3; ++i) mean[i] /= count, template_mean[i] /= count;
    double columns[3][3] = {}, variance = 0, sigma[3];
    RT_HANDS_ROLLED
    for (int k = 0; k < kPalm; ++k) {
        if (!there[k]) continue;
        for (int j = 0; j < 3; ++j) {
            const double offset = palm_template[3 * k + j] - template_mean[j];
            variance += offset * offset / count;
            for (int i = 0; i < 3; ++i) columns[j][i] += (palm[k][i] - mean[i]) * offset / count;
        }
    }
    if (!nearest_rotation(columns, frame->rotation, sigma)) return;
    frame->scale_mm = (sigma[0] + sigma[1] + sigma[2]) / fmax(variance, 1e-12);
    for (int i = 0; i < 3; ++i)
        frame->origin_mm[i] = mean[i] - frame->scale_mm * dot3(frame->rotation + 3 * i, template_mean);
    frame->present = sigma[1] > min_spread * sigma[0] && frame->scale_mm >= min_scale_mm;
}

}  // namespace rt_hands

using rt_hands::Frame;
using rt_hands::View;

// joints_mm (N, 21, 3) NaN where missing, side (N,) -> joints (N, 21, 3) canonical with 0 where missing, valid (N, 21),
// frames (N,). unit_mm > 0: world axes in that unit instead. Fewer than min_joints: absent. One thread a hand.
extern "C" __global__ void canonicalise(const double* joints_mm, const int* side, int count,
                                        const double* palm_template, const int* palm_joints, double min_scale_mm,
                                        double min_spread, int min_joints, double unit_mm, float* joints,
                                        float* valid, Frame* frames) {
    const int hand = blockIdx.x * blockDim.x + threadIdx.x;
    if (hand >= count) return;
    const double* mine = joints_mm + 3 * rt_hands::kJoints * hand;
    const double mirror[3] = {side[hand] == 1 ? -1.0 : 1.0, 1.0, 1.0};
    bool there[rt_hands::kJoints], palm_there[rt_hands::kPalm];
    double palm[rt_hands::kPalm][3];
    int known = 0;
    RT_HANDS_ROLLED
    for (int j = 0; j < rt_hands::kJoints; ++j) {
        there[j] = isfinite(mine[3 * j]) && isfinite(mine[3 * j + 1]) && isfinite(mine[3 * j + 2]);
        known += there[j];
    }
    RT_HANDS_ROLLED
    for (int k = 0; k < rt_hands::kPalm; ++k) {
        palm_there[k] = there[palm_joints[k]];
        for (int i = 0; i < 3; ++i) palm[k][i] = mirror[i] * mine[3 * palm_joints[k] + i];
    }
    Frame frame = {};
    rt_hands::fit_frame(palm, palm_there, palm_template, min_scale_mm, min_spread, &frame);
    if (known < min_joints) frame.present = 0;
    if (unit_mm > 0) {
        const double present = frame.present;
        frame = {{1, 0, 0, 0, 1, 0, 0, 0, 1}, {0, 0, 0}, unit_mm, present};
    }
    frames[hand] = frame;
    RT_HANDS_ROLLED
    for (int j = 0; j < rt_hands::kJoints; ++j) {
        const bool used = there[j] && frame.present > 0;
        valid[rt_hands::kJoints * hand + j] = used ? 1.0f : 0.0f;
        for (int i = 0; i < 3; ++i) {
            double value = 0;
            for (int k = 0; used && k < 3; ++k)
                value += (mirror[k] * mine[3 * j + k] - frame.origin_mm[k]) * frame.rotation[3 * k + i];
            joints[3 * (rt_hands::kJoints * hand + j) + i] = used ? static_cast<float>(value / frame.scale_mm) : 0.0f;
        }
    }
}

// The joints as they came and the surface (N, 64, 3) taken back to the world -> hands_mm (N, 85, 3); NaN for absent
// hands. grid (N), block (85).
extern "C" __global__ void place(const double* joints_mm, const int* side, const float* surface, const Frame* frames,
                                 double* hands_mm) {
    const int hand = blockIdx.x, point = threadIdx.x;
    if (point >= rt_hands::kHand) return;
    double* out = hands_mm + 3 * (rt_hands::kHand * hand + point);
    const Frame& frame = frames[hand];
    for (int i = 0; i < 3; ++i) {
        double value = NAN;
        if (frame.present > 0 && point < rt_hands::kJoints) {
            value = joints_mm[3 * (rt_hands::kJoints * hand + point) + i];
        } else if (frame.present > 0) {
            const float* p = surface + 3 * (rt_hands::kSurface * hand + point - rt_hands::kJoints);
            const double* row = frame.rotation + 3 * i;
            value = frame.origin_mm[i] + frame.scale_mm * (row[0] * p[0] + row[1] * p[1] + row[2] * p[2]);
            if (i == 0 && side[hand] == 1) value = -value;
        }
        out[i] = value;
    }
}

// points_mm (count, 3) in every view -> points_px (V, count, 2); NaN behind a camera. grid (ceil(count / 128), V).
extern "C" __global__ void project(const double* points_mm, int count, const View* views, float* points_px) {
    const int point = blockIdx.x * blockDim.x + threadIdx.x;
    if (point >= count) return;
    const View& c = views[blockIdx.y];
    const double* p = points_mm + 3 * point;
    double cam[3];
    for (int i = 0; i < 3; ++i) cam[i] = rt_hands::dot3(c.rotation + 3 * i, p) + c.translation_mm[i];
    const double x = cam[0] / cam[2], y = cam[1] / cam[2], r2 = x * x + y * y;
    const double factor = 1 + r2 * (c.k1 + r2 * (c.k2 + r2 * c.k3)) + 2 * c.p1 * y + 2 * c.p2 * x;
    float* out = points_px + 2 * (static_cast<std::int64_t>(blockIdx.y) * count + point);
    const bool in_front = cam[2] > 0;  // false for NaN
    out[0] = in_front ? static_cast<float>(c.fx * (x * factor + c.p2 * r2) + c.cx) : NAN;
    out[1] = in_front ? static_cast<float>(c.fy * (y * factor + c.p1 * r2) + c.cy) : NAN;
}
