// Compiles every kernel into namespace RT_HANDS_LEVEL with RT_HANDS_LANES float64 lanes, and lists them.
#include "kernels_std.hpp"

namespace rt_hands {
namespace RT_HANDS_LEVEL {

#include "decode.inl"
#include "dense.inl"
#include "draw.inl"
#include "lanes.inl"

#include "crop.inl"
#include "project.inl"
#include "triangulate.inl"

#include "fit.inl"

constexpr Kernels kTable = {decode,      read_floor,  project<float>, project<double>,
                            triangulate, crop_sample, crop_blocks,    draw_strokes,
                            dense_pair,  fit_hands};

}  // namespace RT_HANDS_LEVEL
}  // namespace rt_hands
