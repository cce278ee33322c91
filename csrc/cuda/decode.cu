// Belief maps to points on the device: peak, then the mean of the 9x9 patch round it, weighted by squares.
// The same answer as decode_heatmaps with squares9x9 in csrc/decode.hpp, so 170 x 3 floats go back instead of the maps.
#include "common.cuh"

namespace rt_hands {

constexpr int kThreads = 128;
constexpr int kRadius = 4;

// A float as an integer of the same order, so that one integer comparison finds the peak.
__device__ inline std::uint64_t ordered(float value) {
    union { float f; std::uint32_t u; } bits;
    bits.f = value;
    return (bits.u & 0x80000000u) ? ~bits.u : (bits.u | 0x80000000u);
}

// maps (B, channels, height, width), the first gridDim.x channels decoded; image_from_map (B, 2, 3);
// points (B, gridDim.x, 3): x_px, y_px, score. First of equal peaks; NaN, NaN, 0 for a peak <= 0, NaN or +inf.
template <typename T>
__device__ void decode(const T* maps, int channels, int height, int width, const double* image_from_map,
                       float* points) {
    __shared__ std::uint64_t best[kThreads];
    __shared__ int broken;
    const int thread = threadIdx.x, cells = height * width;
    const T* map = maps + (static_cast<std::int64_t>(blockIdx.y) * channels + blockIdx.x) * cells;
    if (thread == 0) broken = 0;
    __syncthreads();
    std::uint64_t mine = 0;
    for (int i = thread; i < cells; i += kThreads) {
        const float value = load(map + i);
        if (!(value < INFINITY)) broken = 1;  // NaN or +inf; every writer writes the same
        // The low half counts down, so that of equal values the first cell wins. Adding 0 makes -0 into 0.
        const std::uint64_t key = (ordered(value + 0.0f) << 32) | (0xffffffffu - static_cast<std::uint32_t>(i));
        if (key > mine) mine = key;
    }
    best[thread] = mine;
    for (int step = kThreads / 2; step > 0; step /= 2) {
        __syncthreads();
        if (thread < step && best[thread + step] > best[thread]) best[thread] = best[thread + step];
    }
    if (thread != 0) return;

    float* point = points + 3 * (static_cast<std::int64_t>(blockIdx.y) * gridDim.x + blockIdx.x);
    const int peak = static_cast<int>(0xffffffffu - static_cast<std::uint32_t>(best[0]));
    const float score = broken ? 0.0f : load(map + peak);
    if (broken || !(score > 0.0f)) {
        point[0] = point[1] = NAN;
        point[2] = 0.0f;
        return;
    }
    const int peak_x = peak % width, peak_y = peak / width;
    // Places relative to the peak keep float32 sums exact to 1e-7 of a cell.
    float total = 0, sum_x = 0, sum_y = 0;
    for (int y = max(0, peak_y - kRadius); y <= min(height - 1, peak_y + kRadius); ++y) {
        for (int x = max(0, peak_x - kRadius); x <= min(width - 1, peak_x + kRadius); ++x) {
            // Shares of the peak: squares of small float32 vanish.
            const float share = fmaxf(load(map + y * width + x), 0.0f) / score, weight = share * share;
            total += weight, sum_x += weight * (x - peak_x), sum_y += weight * (y - peak_y);
        }
    }
    const double* m = image_from_map + 6 * blockIdx.y;
    const double x = static_cast<double>(peak_x) + sum_x / total, y = static_cast<double>(peak_y) + sum_y / total;
    point[0] = static_cast<float>(m[0] * x + m[1] * y + m[2]);
    point[1] = static_cast<float>(m[3] * x + m[4] * y + m[5]);
    point[2] = score;
}

}  // namespace rt_hands

// grid (K, B), block 128.
extern "C" __global__ void decode_float32(const float* maps, int channels, int height, int width,
                                          const double* image_from_map, float* points) {
    rt_hands::decode(maps, channels, height, width, image_from_map, points);
}
extern "C" __global__ void decode_float16(const __half* maps, int channels, int height, int width,
                                          const double* image_from_map, float* points) {
    rt_hands::decode(maps, channels, height, width, image_from_map, points);
}
