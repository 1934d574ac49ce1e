#pragma once

#include <immintrin.h>

#include "nn/kernel/simd.h"

namespace textmill::nn::kernel {

/// AVX2, perhaps with the 8-bit dot product in 256 bits (Alder Lake, Zen 5 and later).
template <bool with_vnni>
struct Avx2 : Vectors<8, Avx2<with_vnni>> {
  using Base = Vectors<8, Avx2>;
  using F = typename Base::F;
  using U = typename Base::U;
  using I = typename Base::I;
  using H = typename Base::H;
  using B = typename Base::B;
  static constexpr int tile_rows = 6, tile_vectors = 2;  // 12 sums, 2 of b and 1 of a, in 16 registers

  [[gnu::always_inline]] static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  [[gnu::always_inline]] static F min(F a, F b) { return _mm256_min_ps(a, b); }
  [[gnu::always_inline]] static F max(F a, F b) { return _mm256_max_ps(a, b); }
  [[gnu::always_inline]] static F sqrt(F x) { return _mm256_sqrt_ps(x); }
  [[gnu::always_inline]] static I round(F x) { return (I)_mm256_cvtps_epi32(x); }
  [[gnu::always_inline]] static U widen_halves(H x) { return (U)_mm256_cvtepu16_epi32((__m128i)x); }

  [[gnu::always_inline]] static I widen_bytes(B x) {
    return (I)_mm256_cvtepi8_epi32(_mm_cvtsi64_si128((long long)x));
  }

  using Base::dot;
  // Without the dot product: in 16 bits, even bytes and odd ones. vpmaddubsw would be quicker, but it saturates.
  [[gnu::always_inline]] static U dot(int8_t, U sum, U a, U b) {
    if constexpr (with_vnni) {
      asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
      return sum;
    } else {
      auto x = (__m256i)a, y = (__m256i)b;
      __m256i even = _mm256_madd_epi16(_mm256_and_si256(x, _mm256_set1_epi16(255)),
                                       _mm256_srai_epi16(_mm256_slli_epi16(y, 8), 8));
      __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(x, 8), _mm256_srai_epi16(y, 8));
      return sum + (U)even + (U)odd;
    }
  }
};

}  // namespace textmill::nn::kernel
