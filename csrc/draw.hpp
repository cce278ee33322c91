// Strokes on a picture: lines with round ends, and discs, which are lines of no length; smooth edges, sub-pixel places.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rt_hands {

// (height, width, 3) uint8, rows row_bytes apart; pixel centres at whole numbers.
struct Canvas {
    std::uint8_t* bgr;
    std::int64_t width, height;
    std::ptrdiff_t row_bytes;
};

// strokes (count, 5): x0, y0, x1, y1, width in px; colours (count, 3), BGR. Drawn in turn, later ones on top. A pixel at
// distance d of the middle line is covered to width / 2 + 0.5 - d, within 0..1. Left out: strokes of which a number is
// not finite or a coordinate beyond a million px, and widths that are not above 0.
void draw_strokes(const Canvas& canvas, const float* strokes, const std::uint8_t* colours, std::int64_t count);

}  // namespace rt_hands
