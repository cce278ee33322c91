// The kernels for AVX-512 (F, BW, DQ, VL). Only these functions use those instructions: the rest of the library runs anywhere.
#include "kernels.hpp"

#if RT_HANDS_X86_LEVELS
#include "kernels_std.hpp"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512")
#endif
#define RT_HANDS_LANES 8
#define RT_HANDS_LEVEL avx512
#include "kernels_table.inl"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace rt_hands {
const Kernels kAvx512Kernels = avx512::kTable;
}
#endif
