// The shipped kernels as a CPU library for tests/test_cuda_kernels.py.
#include "cuda_on_cpu.hpp"

#include <cstring>

#include "../csrc/cuda/decode.cu"
#include "../csrc/cuda/lift.cu"
#include "../csrc/cuda/preprocess.cu"

// 0, or -1 where no kernel has that name. grid, block: 3 sizes each. arguments: a pointer to each argument.
extern "C" int cpu_launch(const char* name, const unsigned* grid, const unsigned* block, void** arguments,
                          int backwards) {
    const dim3 g{grid[0], grid[1], grid[2]}, b{block[0], block[1], block[2]};
// waits: whether its threads meet at __syncthreads().
#define KERNEL(k, waits) \
    if (!std::strcmp(name, #k)) return cpu::launch(k, arguments, g, b, backwards != 0, waits), 0
    KERNEL(crop_rgb_float32, false);
    KERNEL(crop_rgb_float16, false);
    KERNEL(decode_float32, true);
    KERNEL(decode_float16, true);
    KERNEL(canonicalise, false);
    KERNEL(place, false);
    KERNEL(project, false);
    return -1;
}
