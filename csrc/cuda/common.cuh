// What the kernels share: element types, and one name for every exported entry.
//
// Kernels use no warp intrinsics and no dynamic shared memory, so that tests can run the same source on a CPU
// (tests/cuda_on_cpu.hpp stands in for the two CUDA headers there).
#pragma once

#ifndef RT_HANDS_CUDA_ON_CPU
#include <cuda_fp16.h>
#endif

#include <cstdint>

// Before a loop whose body is long: unrolled, the kernels would be 3 to 5 times as large and no faster.
#ifdef RT_HANDS_CUDA_ON_CPU
#define RT_HANDS_ROLLED
#else
#define RT_HANDS_ROLLED _Pragma("unroll 1")
#endif

namespace rt_hands {

__device__ inline float load(const float* p) { return *p; }
__device__ inline float load(const __half* p) { return __half2float(*p); }
__device__ inline void store(float* p, float v) { *p = v; }
__device__ inline void store(__half* p, float v) { *p = __float2half(v); }

}  // namespace rt_hands
