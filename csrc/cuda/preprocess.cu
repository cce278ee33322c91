// Frames to network input in one pass: crop, shrink, BGR -> RGB, 0..255 -> 0..1, rows of pixels -> planes.
#include "common.cuh"

namespace rt_hands {

// One crop of one picture; mirrored by CROP_DTYPE in rt_hands/inference/tensorrt/kernels.py.
// The picture is read in blocks of block x block pixels (1: pixel by pixel).
struct Crop {
    const std::uint8_t* bgr;    // (height, width, 3) on the device, rows packed
    std::int32_t width, height, block, taps;  // taps: samples a crop pixel, 1 or 4
    float block_from_crop[6];   // 2x3: crop pixel -> block, centres at whole numbers; turned crops too
};

// Mean of one block, rounded to a whole grey level. Blocks outside the picture are those of its edge; the pixels that the
// last block lacks, too.
__device__ inline float block_mean(const Crop& c, int bx, int by, int channel) {
    bx = min(max(bx, 0), (c.width - 1) / c.block);
    by = min(max(by, 0), (c.height - 1) / c.block);
    int sum = 0;
    RT_HANDS_ROLLED
    for (int y = by * c.block; y < (by + 1) * c.block; ++y) {
        const int row = min(y, c.height - 1);
        RT_HANDS_ROLLED
        for (int x = bx * c.block; x < (bx + 1) * c.block; ++x) {
            const int column = min(x, c.width - 1);
            sum += c.bgr[3 * (static_cast<std::int64_t>(row) * c.width + column) + channel];
        }
    }
    const int count = c.block * c.block;
    return static_cast<float>((sum + count / 2) / count);
}

// One bilinear sample between blocks, added to sums (blue, green, red); 0 where it lies outside the picture.
__device__ inline void add_sample(const Crop& c, float x, float y, float* sums) {
    const float* m = c.block_from_crop;
    const float bx = m[0] * x + m[1] * y + m[2], by = m[3] * x + m[4] * y + m[5];
    const float px = (bx + 0.5f) * c.block, py = (by + 0.5f) * c.block;  // 0 at the picture's edge
    if (!(px >= 0.0f && py >= 0.0f && px < c.width && py < c.height)) return;  // NaN, too
    const float column = floorf(bx), row = floorf(by);
    const int x0 = static_cast<int>(column), y0 = static_cast<int>(row);
    RT_HANDS_ROLLED
    for (int channel = 0; channel < 3; ++channel) {
        const float a = block_mean(c, x0, y0, channel), b = block_mean(c, x0 + 1, y0, channel);
        const float d = block_mean(c, x0, y0 + 1, channel), e = block_mean(c, x0 + 1, y0 + 1, channel);
        const float upper = a + (bx - column) * (b - a), lower = d + (bx - column) * (e - d);
        sums[channel] += upper + (by - row) * (lower - upper);
    }
}

// out (B, 3, size, size), 0..1. The rule of csrc/crop.hpp: the mean of four bilinear samples, at the middles of a
// pixel's quarters, where the crop shrinks, else one; means of blocks where it shrinks more than fourfold.
template <typename T>
__device__ void crop_rgb(const Crop* crops, T* out, int size) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= size || y >= size) return;
    const Crop& c = crops[blockIdx.z];
    const float apart = c.taps > 1 ? 0.25f : 0.0f;
    float sums[3] = {0.0f, 0.0f, 0.0f};
    RT_HANDS_ROLLED
    for (int tap = 0; tap < c.taps; ++tap) {
        add_sample(c, x + (tap % 2 ? apart : -apart), y + (tap / 2 ? apart : -apart), sums);
    }
    const std::int64_t plane = static_cast<std::int64_t>(size) * size;
    T* pixel = out + 3 * plane * blockIdx.z + static_cast<std::int64_t>(y) * size + x;
    const float share = 1.0f / (255.0f * static_cast<float>(max(c.taps, 1)));  // 0 taps: an unused place of a batch
    for (int channel = 0; channel < 3; ++channel) store(pixel + (2 - channel) * plane, sums[channel] * share);
}

}  // namespace rt_hands

// grid (ceil(size / 32), ceil(size / 8), B), block (32, 8).
extern "C" __global__ void crop_rgb_float32(const rt_hands::Crop* crops, float* out, int size) {
    rt_hands::crop_rgb(crops, out, size);
}
extern "C" __global__ void crop_rgb_float16(const rt_hands::Crop* crops, __half* out, int size) {
    rt_hands::crop_rgb(crops, out, size);
}
