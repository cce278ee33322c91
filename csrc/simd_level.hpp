// Which instruction set the kernels run with. Chosen once from what the machine has; tests may force a lower one.
#pragma once

#include <string>
#include <vector>

namespace rt_hands {

enum class SimdLevel { baseline = 0, avx2 = 1, avx512 = 2 };

// Every level this machine and this build can run, lowest first. `baseline` is always there (SSE2, NEON or scalar).
std::vector<SimdLevel> available_simd_levels();

// The level in use: the highest available one until set_simd_level is called.
SimdLevel simd_level();

// Throws std::invalid_argument, naming the levels there are, when this machine lacks `level`.
void set_simd_level(SimdLevel level);

std::string simd_level_name(SimdLevel level);

// Throws std::invalid_argument for a name that is no level.
SimdLevel simd_level_from_name(const std::string& name);

}  // namespace rt_hands
