#pragma once

// What path_*.cc include before they turn on their instructions: what is compiled here keeps those of the build. See simd.h.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <type_traits>
#include <utility>

#include "nn/kernel/kernels.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif
