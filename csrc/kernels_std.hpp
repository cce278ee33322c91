// Standard headers the kernels use. Included before any target pragma, so that no inline function of the standard
// library is compiled for a newer machine and then shared with code that must run on an older one.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>

#if RT_HANDS_X86_LEVELS
#include <immintrin.h>
#endif

#include "palm_frame.hpp"
