// Frames to network input in one pass: crop, resize, BGR -> RGB, 0..255 -> 0..1, rows of pixels -> planes.
#include "common.cuh"

namespace rt_hands {

// One crop of one frame; mirrored by CROP_DTYPE in rt_hands/inference/tensorrt/kernels.py.
struct Crop {
    const std::uint8_t* bgr;    // (height, width, 3) on the device
    std::int32_t row_bytes, width, height, reserved;
    float frame_from_crop[6];   // 2x3: crop pixel -> frame pixel, pixel centres at whole numbers
};

// One tap of the picture, `border` outside it.
__device__ inline float tap(const Crop& c, int x, int y, int channel, float border) {
    if (x < 0 || y < 0 || x >= c.width || y >= c.height) return border;
    return c.bgr[static_cast<std::int64_t>(y) * c.row_bytes + 3 * x + channel];
}

// out (B, 3, size, size): bilinear, constant border, the same rule as cv2.warpAffine(INTER_LINEAR | WARP_INVERSE_MAP)
// but with exact weights where OpenCV rounds them to 1/32.
template <typename T>
__device__ void crop_rgb(const Crop* crops, T* out, int size, float border) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= size || y >= size) return;
    const Crop& c = crops[blockIdx.z];
    const float* m = c.frame_from_crop;
    const float sx = m[0] * x + m[1] * y + m[2], sy = m[3] * x + m[4] * y + m[5];
    // Far outside (or NaN): all four taps are border; the test also keeps the conversion to int defined.
    const bool near = sx > -1.0f && sy > -1.0f && sx < c.width && sy < c.height;
    const float left = floorf(near ? sx : -2.0f), top = floorf(near ? sy : -2.0f);
    const float fx = near ? sx - left : 0.0f, fy = near ? sy - top : 0.0f;
    const int x0 = static_cast<int>(left), y0 = static_cast<int>(top);
    const std::int64_t plane = static_cast<std::int64_t>(size) * size;
    T* pixel = out + 3 * plane * blockIdx.z + static_cast<std::int64_t>(y) * size + x;
    for (int channel = 0; channel < 3; ++channel) {
        const float a = tap(c, x0, y0, channel, border), b = tap(c, x0 + 1, y0, channel, border);
        const float d = tap(c, x0, y0 + 1, channel, border), e = tap(c, x0 + 1, y0 + 1, channel, border);
        const float upper = a + fx * (b - a), lower = d + fx * (e - d);
        store(pixel + (2 - channel) * plane, (upper + fy * (lower - upper)) * (1.0f / 255.0f));
    }
}

}  // namespace rt_hands

// grid (ceil(size / 32), ceil(size / 8), B), block (32, 8).
extern "C" __global__ void crop_rgb_float32(const rt_hands::Crop* crops, float* out, int size, float border) {
    rt_hands::crop_rgb(crops, out, size, border);
}
extern "C" __global__ void crop_rgb_float16(const rt_hands::Crop* crops, __half* out, int size, float border) {
    rt_hands::crop_rgb(crops, out, size, border);
}
