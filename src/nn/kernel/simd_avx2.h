#pragma once

#include <immintrin.h>

#include "nn/kernel/simd.h"

namespace textmill::nn::kernel {

struct Avx2 : Vectors<8, Avx2> {
  static constexpr int tile_rows = 6, tile_vectors = 2;  // 12 sums, 2 of b and 1 of a, in 16 registers

  [[gnu::always_inline]] static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  [[gnu::always_inline]] static F min(F a, F b) { return _mm256_min_ps(a, b); }
  [[gnu::always_inline]] static F max(F a, F b) { return _mm256_max_ps(a, b); }
  [[gnu::always_inline]] static F sqrt(F x) { return _mm256_sqrt_ps(x); }
  [[gnu::always_inline]] static U widen_halves(H x) { return (U)_mm256_cvtepu16_epi32((__m128i)x); }
};

}  // namespace textmill::nn::kernel
