// One table of kernels per SIMD level. The same kernel sources (*.inl) are compiled once for each.
#pragma once

#include "camera_model.hpp"
#include "crop_grid.hpp"
#include "decode.hpp"
#include "dense.hpp"
#include "draw.hpp"
#include "fit.hpp"
#include "project.hpp"
#include "simd_level.hpp"
#include "triangulate.hpp"

// Vector types that convert into each other: clang, and GCC from 9 on. RT_HANDS_SCALAR builds plain scalar code: how
// other compilers see it.
#if (defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 9)) && !defined(RT_HANDS_SCALAR)
#define RT_HANDS_VECTOR_TYPES 1
#else
#define RT_HANDS_VECTOR_TYPES 0
#endif

// The x86 levels need their per-function targets, too. Anything else (MSVC, ARM) runs the baseline, which on 64-bit ARM
// is NEON.
#if (defined(__x86_64__) || defined(__i386__)) && RT_HANDS_VECTOR_TYPES
#define RT_HANDS_X86_LEVELS 1
#else
#define RT_HANDS_X86_LEVELS 0
#endif

#ifdef _MSC_VER
#define RT_HANDS_RESTRICT __restrict
#else
#define RT_HANDS_RESTRICT __restrict__
#endif

namespace rt_hands {

// Where fit_hands works: drawn_px (V, 21, 2), masks 2 x (V, 21); and how points come into views.
struct FitSpace {
    double* drawn_px;
    std::uint8_t* masks;
    void (*project)(const double*, std::int64_t, const CameraModel*, std::int64_t, double*, std::uint8_t*, std::uint8_t*);
};

struct Kernels {
    void (*decode)(const MapBatch&, const double*, PeakMethod, float*);
    std::uint64_t (*read_floor)(const unsigned char*, std::size_t);
    void (*project_f32)(const float*, std::int64_t, const CameraModel*, std::int64_t, float*, std::uint8_t*,
                        std::uint8_t*);
    void (*project_f64)(const double*, std::int64_t, const CameraModel*, std::int64_t, double*, std::uint8_t*,
                        std::uint8_t*);
    void (*triangulate)(const double*, const double*, std::int64_t, const CameraModel*, std::int64_t,
                        const TriangulateOptions&, unsigned char*, double*, double*, std::int64_t*, std::uint8_t*);
    void (*crop_sample)(const CropGrid&, std::int64_t, float*);
    void (*crop_blocks)(const CropBlocks&, std::uint16_t*, std::uint8_t*);
    void (*draw_strokes)(const Canvas&, const float*, const std::uint8_t*, std::int64_t);
    void (*dense_pair)(const DenseLayer&, const float*, float*);
    void (*fit_hands)(const FitInput&, const HandModel&, const CameraModel*, std::int64_t, const FitOptions&,
                      const FitSpace&, double*, double*);
};

// The table of the level in use.
const Kernels& active_kernels();

extern const Kernels kBaselineKernels;
#if RT_HANDS_X86_LEVELS
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
#endif

}  // namespace rt_hands
