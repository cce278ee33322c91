// What the kernels of crop_rgb work on; made in crop.cpp.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rt_hands {

// A picture, or the means of its blocks, to be sampled: width >= 2, height >= 1. Pixels whose centres lie in
// left <= x < right, top <= y < bottom belong to the picture. taps: samples an input pixel, 1 or 4.
// end: bytes from bgr to the end of the memory that it lies in.
struct CropGrid {
    const std::uint8_t* bgr;
    std::int32_t width, height;
    std::ptrdiff_t row_bytes, end;
    double grid_from_input[6];
    float left, right, top, bottom;
    int taps;
};

// Blocks of block x block pixels of a picture from pixel (x0, y0) on: rows x columns of them.
struct CropBlocks {
    const std::uint8_t* bgr;
    std::int64_t width, height;
    std::ptrdiff_t row_bytes;
    std::int64_t block, x0, y0, columns, rows;
};

}  // namespace rt_hands
