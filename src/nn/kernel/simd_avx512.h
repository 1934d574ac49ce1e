#pragma once

#include <immintrin.h>

#include "nn/kernel/simd.h"

namespace textmill::nn::kernel {

/// AVX-512 with the bf16 dot product (Zen 4, Cooper Lake and later).
struct Avx512 : Vectors<16, Avx512> {
  static constexpr int tile_rows = 8, tile_vectors = 3;  // 24 sums, 3 of b and 1 of a, in 32 registers

  [[gnu::always_inline]] static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  [[gnu::always_inline]] static F min(F a, F b) { return _mm512_min_ps(a, b); }
  [[gnu::always_inline]] static F max(F a, F b) { return _mm512_max_ps(a, b); }
  [[gnu::always_inline]] static F sqrt(F x) { return _mm512_sqrt_ps(x); }

  [[gnu::always_inline]] static uint16_t first(Part part) {
    return static_cast<uint16_t>((1u << part.count) - 1);
  }
  template <class T>
  [[gnu::always_inline]] static T load_raw(const void* p, Part part) {
    if constexpr (sizeof(T) == 64) {
      return (T)_mm512_maskz_loadu_epi32(first(part), p);
    } else {
      return (T)_mm256_maskz_loadu_epi16(first(part), p);
    }
  }
  template <class T>
  [[gnu::always_inline]] static void store_raw(void* p, T x, Part part) {
    if constexpr (sizeof(T) == 64) {
      _mm512_mask_storeu_epi32(p, first(part), (__m512i)x);
    } else {
      _mm256_mask_storeu_epi16(p, first(part), (__m256i)x);
    }
  }
  using Vectors::load_raw;
  using Vectors::store_raw;

  [[gnu::always_inline]] static U widen_halves(H x) { return (U)_mm512_cvtepu16_epi32((__m256i)x); }
  [[gnu::always_inline]] static H narrow(F x) { return (H)_mm512_cvtneps_pbh(x); }

  using Vectors::dot;
  // In assembly, because clang 16 fails on the intrinsic.
  [[gnu::always_inline]] static F dot(bf16, F sum, U a, U b) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
  }
};

}  // namespace textmill::nn::kernel
