// Belief maps to points: peak, then the weighted mean of the patch round it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rt_hands {

enum class MapType { float32, float16, uint8 };

// How the place of the peak is refined below one cell.
//   mean5x5       mean of the 5x5 patch weighted by its values, clamped at 0 and clipped at the border
//                 (the source's rule: 2020 dense hand keypoints, section on decoding)
//   mean5x5_sub   the same after taking 0.2 x peak off every weight: less lean to the centre of the cell
//   squares9x9    mean of the 9x9 patch weighted by the squares of its values, clamped and clipped alike: a wider look
//                 at maps of broad or double peaks, that leans less to the centre of the cell
//   log_parabola  vertex of the parabola through the logarithms of the peak and its two neighbours, per axis:
//                 exact for a Gaussian; no shift along an axis on whose border the peak lies
enum class PeakMethod { mean5x5, mean5x5_sub, squares9x9, log_parabola };

struct MapBatch {
    const unsigned char* data;
    MapType type;
    std::int64_t batch, maps, height, width;     // B, K, h, w; rows and columns of one map are contiguous
    std::ptrdiff_t batch_stride, map_stride;     // bytes
};

// points (B, K, 3) float32: x_px, y_px, score. image_from_map (B, 2, 3) float64 takes map cells to pixels.
// The first of equal peaks in row-major order wins. Score is the peak's value (uint8: value / 255).
// Absent, so NaN, NaN, 0: a peak <= 0, or a map that holds a NaN or +inf.
void decode_heatmaps(const MapBatch& maps, const double* image_from_map, PeakMethod method, float* points);

// Reads `bytes` bytes once and returns their folded sum: the floor that decode is measured against.
std::uint64_t read_floor(const unsigned char* data, std::size_t bytes);

}  // namespace rt_hands
