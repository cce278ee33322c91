// The kernels for AVX2 + FMA. Only these functions use those instructions: the rest of the library runs anywhere.
#include "kernels.hpp"

#if RT_HANDS_X86_LEVELS
#include "kernels_std.hpp"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define RT_HANDS_LANES 4
#define RT_HANDS_LEVEL avx2
#include "kernels_table.inl"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace rt_hands {
const Kernels kAvx2Kernels = avx2::kTable;
}
#endif
