// RTC on bone frames: 21 joints in 3D to 64 points on the skin, as the network `RtcBones` of rt_hands.training.rtc_networks
// computes it. A graph of 170 operators costs five times as much once other work has emptied the caches.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "dense.hpp"

namespace rt_hands {

constexpr int kRtcJoints = 21, kRtcSkin = 64, kRtcRings = 40, kRtcFingers = 5, kRtcBones = 20, kRtcPalm = 6;

// All numbers of the network. repair: joints and mask -> change and trust of each joint, body: to change and confidence of
// each skin point; both with SiLU between their three layers. Ring points come first, finger by finger, two rings a
// finger, four points a ring.
struct RtcModel {
    DenseLayer repair[3], body[3];
    const float *ring_along, *ring_offset;  // (40,), (40, 3)
    const float *palm_mix, *palm_offset;    // (24, 6), (24, 3)
    const float *bone_mean, *bone_spread;   // (80,)
    const float* joint_mean;                // (21, 3)
    float spread;
};

class RtcNet {
   public:
    explicit RtcNet(const RtcModel& model) : model_(model) {
        std::int64_t widest = 1;
        for (const DenseLayer* layers : {model.repair, model.body}) {
            for (int i = 0; i < 3; ++i) widest = std::max({widest, layers[i].inputs, layers[i].outputs});
        }
        for (auto& room : rooms_) room.resize(static_cast<std::size_t>(2 * widest));
    }

    // joints (count, 21, 3) in the canonical frame, 0 where missing, valid (count, 21) 0 or 1; surface (count, 64, 3),
    // confidence (count, 64).
    void run(const float* joints, const float* valid, std::int64_t count, float* surface, float* confidence) {
        for (std::int64_t at = 0; at < count; at += 2) {
            const std::int64_t hands = count - at < 2 ? 1 : 2;
            pair(joints + 63 * at, valid + 21 * at, hands, surface + 192 * at, confidence + 64 * at);
        }
    }

   private:
    struct Bones {
        float joints[kRtcJoints][3], vector[kRtcBones][3], frame[kRtcBones][3][3];
    };

    void pair(const float* joints, const float* valid, std::int64_t hands, float* surface, float* confidence) {
        const std::int64_t features = 84, wide = model_.body[0].inputs;
        Bones bones[2];
        float* from = rooms_[0].data();
        std::fill(from, from + 2 * features, 0.0f);
        for (std::int64_t h = 0; h < hands; ++h) features_of(joints + 63 * h, valid + 21 * h, from + features * h);
        const float* moved = chain(model_.repair);
        for (std::int64_t h = 0; h < hands; ++h) {
            repaired(joints + 63 * h, valid + 21 * h, moved + features * h, bones[h].joints);
        }
        std::fill(from, from + 2 * wide, 0.0f);
        for (std::int64_t h = 0; h < hands; ++h) whole(valid + 21 * h, bones[h], from + wide * h);
        const float* out = chain(model_.body);
        for (std::int64_t h = 0; h < hands; ++h) skin(bones[h], out + 256 * h, surface + 192 * h, confidence + 64 * h);
    }

    // The three layers on rooms_[0]; gives where the answer lies.
    const float* chain(const DenseLayer* layers) {
        float *from = rooms_[0].data(), *to = rooms_[1].data();
        for (int i = 0; i < 3; ++i) {
            dense_pair(layers[i], from, to);
            if (i < 2) {
                for (std::int64_t o = 0; o < 2 * layers[i].outputs; ++o) to[o] /= 1 + std::exp(-to[o]);
                std::swap(from, to);
            }
        }
        // An odd number of layers: the answer is in the other room, and the first is free again.
        return to;
    }

    void features_of(const float* joints, const float* valid, float* out) const {
        for (int i = 0; i < 63; ++i) out[i] = (joints[i] - model_.joint_mean[i]) / model_.spread * valid[i / 3];
        std::copy(valid, valid + kRtcJoints, out + 63);
    }

    void repaired(const float* joints, const float* valid, const float* moved, float (*out)[3]) const {
        for (int j = 0; j < kRtcJoints; ++j) {
            const float trust = valid[j] / (1 + std::exp(-moved[4 * j + 3]));
            for (int k = 0; k < 3; ++k) {
                const float mean = model_.joint_mean[3 * j + k];
                out[j][k] = mean + (joints[3 * j + k] - mean) * valid[j] + (1 - trust) * moved[4 * j + k] * model_.spread;
            }
        }
    }

    // Input of the body: joints, mask, bones seen from the frame before, lengths; makes the bones and their frames.
    void whole(const float* valid, Bones& bones, float* out) const {
        const float* joint = bones.joints[0];
        for (int i = 0; i < 63; ++i) out[i] = (joint[i] - model_.joint_mean[i]) / model_.spread;
        std::copy(valid, valid + kRtcJoints, out + 63);
        float* local = out + 84;
        for (int finger = 0; finger < kRtcFingers; ++finger) carry(finger, bones, local);
        for (int i = 0; i < 80; ++i) local[i] = (local[i] - model_.bone_mean[i]) / model_.bone_spread[i];
    }

    // A finger's bones and their frames, from the palm outwards: each turned by the smallest rotation from the bone before.
    static void carry(int finger, Bones& bones, float* local) {
        float basis[3][3] = {{0, 1, 0}, {1, 0, 0}, {0, 0, 1}};
        for (int i = 0; i < 4; ++i) {
            const int bone = 4 * finger + i;
            float *vector = bones.vector[bone], square = 0, direction[3];
            for (int k = 0; k < 3; ++k) {
                vector[k] = bones.joints[bone + 1][k] - bones.joints[i == 0 ? 0 : bone][k];
                square += vector[k] * vector[k];
            }
            const float length = std::sqrt(square + 1e-12f);
            for (int k = 0; k < 3; ++k) direction[k] = vector[k] / length;
            for (int row = 0; row < 3; ++row) local[3 * bone + row] = dot(basis[row], vector);
            local[60 + bone] = length;
            const float cosine = dot(basis[0], direction);
            const float across = 1 + (cosine < -0.99f ? -0.99f : cosine);
            float both[3];
            for (int k = 0; k < 3; ++k) both[k] = basis[0][k] + direction[k];
            for (int row = 1; row < 3; ++row) {
                const float share = dot(basis[row], direction) / across;
                for (int k = 0; k < 3; ++k) basis[row][k] -= share * both[k];
            }
            std::memcpy(basis[0], direction, sizeof(direction));
            std::memcpy(bones.frame[bone], basis, sizeof(basis));
        }
    }

    void skin(const Bones& bones, const float* out, float* surface, float* confidence) const {
        static constexpr int kCarrier[kRtcFingers][2] = {{2, 3}, {1, 2}, {1, 2}, {1, 2}, {1, 2}};
        static constexpr int kPalm[kRtcPalm] = {0, 1, 5, 9, 13, 17};
        const float unit = 0.1f * model_.spread;
        for (int p = 0; p < kRtcSkin; ++p) {
            const float* change = out + 4 * p;
            float* to = surface + 3 * p;
            confidence[p] = 1 / (1 + std::exp(-change[3]));
            if (p < kRtcRings) {
                const int bone = 4 * (p / 8) + kCarrier[p / 8][p / 4 % 2];
                for (int k = 0; k < 3; ++k) {
                    to[k] = bones.joints[bone][k] + model_.ring_along[p] * bones.vector[bone][k];
                    for (int row = 0; row < 3; ++row) {
                        to[k] += (model_.ring_offset[3 * p + row] + change[row] * unit) * bones.frame[bone][row][k];
                    }
                }
                continue;
            }
            const float* mix = model_.palm_mix + kRtcPalm * (p - kRtcRings);
            for (int k = 0; k < 3; ++k) {
                to[k] = model_.palm_offset[3 * (p - kRtcRings) + k] + change[k] * unit;
                for (int j = 0; j < kRtcPalm; ++j) to[k] += mix[j] * bones.joints[kPalm[j]][k];
            }
        }
    }

    static float dot(const float* a, const float* b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

    RtcModel model_;
    std::vector<float> rooms_[2];
};

}  // namespace rt_hands
