// The kernels as the compiler's default target has them: SSE2 on x86-64, NEON on 64-bit ARM, scalar elsewhere.
#include "kernels.hpp"

#if RT_HANDS_VECTOR_TYPES
#define RT_HANDS_LANES 2
#else
#define RT_HANDS_LANES 1
#endif
#define RT_HANDS_LEVEL baseline
#include "kernels_table.inl"

namespace rt_hands {
const Kernels kBaselineKernels = baseline::kTable;
}
