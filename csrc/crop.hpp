// Pictures to network input in one pass: crop, turn, shrink, BGR -> RGB, 0..255 -> 0..1, rows of pixels -> planes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rt_hands {

// One picture, (height, width, 3) uint8, rows row_bytes apart, and where input pixel (u, v) lies in it:
// x = m[0] u + m[1] v + m[2], y = m[3] u + m[4] v + m[5], pixel centres at whole numbers.
struct CropJob {
    const std::uint8_t* bgr;
    std::int64_t width, height;
    std::ptrdiff_t row_bytes;
    double picture_from_input[6];
};

// out (count, 3, side, side): RGB 0..1. Each input pixel is the mean of four bilinear samples, at the middles of its
// quarters, where the crop shrinks, else one sample. A sample outside the picture is 0; the picture's edge pixels reach
// on to its edge. A crop that shrinks more than fourfold reads means of blocks of 2, 4 .. 128 px, rounded to whole grey
// levels, counted from the picture's corner. |height * row_bytes| must be below 2^31.
void crop_rgb(const CropJob* jobs, std::int64_t count, std::int64_t side, float* out);

}  // namespace rt_hands
