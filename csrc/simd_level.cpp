#include "simd_level.hpp"

#include <atomic>
#include <stdexcept>

#include "kernels.hpp"

namespace rt_hands {
namespace {

bool machine_has(SimdLevel level) {
#if RT_HANDS_X86_LEVELS
    if (level == SimdLevel::avx2) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    }
    if (level == SimdLevel::avx512) {
        return machine_has(SimdLevel::avx2) && __builtin_cpu_supports("avx512f") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl");
    }
#endif
    return level == SimdLevel::baseline;
}

std::atomic<SimdLevel>& active_level() {
    static std::atomic<SimdLevel> level{available_simd_levels().back()};
    return level;
}

std::string available_names() {
    std::string names;
    for (SimdLevel level : available_simd_levels()) {
        names += (names.empty() ? "" : ", ") + simd_level_name(level);
    }
    return names;
}

}  // namespace

std::vector<SimdLevel> available_simd_levels() {
    std::vector<SimdLevel> levels;
    for (SimdLevel level : {SimdLevel::baseline, SimdLevel::avx2, SimdLevel::avx512}) {
        if (machine_has(level)) levels.push_back(level);
    }
    return levels;
}

SimdLevel simd_level() { return active_level().load(std::memory_order_relaxed); }

void set_simd_level(SimdLevel level) {
    if (!machine_has(level)) {
        throw std::invalid_argument("This machine has no SIMD level '" + simd_level_name(level) +
                                    "'. It has: " + available_names() + ".");
    }
    active_level().store(level, std::memory_order_relaxed);
}

std::string simd_level_name(SimdLevel level) {
    switch (level) {
        case SimdLevel::avx2: return "avx2";
        case SimdLevel::avx512: return "avx512";
        default: return "baseline";
    }
}

SimdLevel simd_level_from_name(const std::string& name) {
    for (SimdLevel level : {SimdLevel::baseline, SimdLevel::avx2, SimdLevel::avx512}) {
        if (simd_level_name(level) == name) return level;
    }
    throw std::invalid_argument("'" + name + "' is no SIMD level. This machine has: " + available_names() + ".");
}

}  // namespace rt_hands
