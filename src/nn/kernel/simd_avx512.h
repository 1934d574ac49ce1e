#pragma once

#include <immintrin.h>

#include "nn/kernel/simd.h"

namespace textmill::nn::kernel {

/// AVX-512 with the 8-bit dot product (Cascade Lake), and perhaps that of bf16 (Zen 4, Cooper Lake and later).
template <bool with_bf16>
struct Avx512 : Vectors<16, Avx512<with_bf16>> {
  using Base = Vectors<16, Avx512>;
  using F = typename Base::F;
  using U = typename Base::U;
  using I = typename Base::I;
  using H = typename Base::H;
  using B = typename Base::B;
  static constexpr int tile_rows = 8, tile_vectors = 3;  // 24 sums, 3 of b and 1 of a, in 32 registers

  [[gnu::always_inline]] static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  [[gnu::always_inline]] static F min(F a, F b) { return _mm512_min_ps(a, b); }
  [[gnu::always_inline]] static F max(F a, F b) { return _mm512_max_ps(a, b); }
  [[gnu::always_inline]] static F sqrt(F x) { return _mm512_sqrt_ps(x); }
  [[gnu::always_inline]] static I round(F x) { return (I)_mm512_cvtps_epi32(x); }

  [[gnu::always_inline]] static uint16_t first(Part part) {
    return static_cast<uint16_t>((1u << part.count) - 1);
  }
  template <class T>
  [[gnu::always_inline]] static T load_raw(const void* p, Part part) {
    if constexpr (sizeof(T) == 64) {
      return (T)_mm512_maskz_loadu_epi32(first(part), p);
    } else if constexpr (sizeof(T) == 32) {
      return (T)_mm256_maskz_loadu_epi16(first(part), p);
    } else {
      return (T)_mm_maskz_loadu_epi8(first(part), p);
    }
  }
  template <class T>
  [[gnu::always_inline]] static void store_raw(void* p, T x, Part part) {
    if constexpr (sizeof(T) == 64) {
      _mm512_mask_storeu_epi32(p, first(part), (__m512i)x);
    } else if constexpr (sizeof(T) == 32) {
      _mm256_mask_storeu_epi16(p, first(part), (__m256i)x);
    } else {
      _mm_mask_storeu_epi8(p, first(part), (__m128i)x);
    }
  }
  using Base::load_raw;
  using Base::store_raw;

  [[gnu::always_inline]] static U widen_halves(H x) { return (U)_mm512_cvtepu16_epi32((__m256i)x); }
  [[gnu::always_inline]] static I widen_bytes(B x) { return (I)_mm512_cvtepi8_epi32((__m128i)x); }
  [[gnu::always_inline]] static B low_bytes(I x) { return (B)_mm512_cvtepi32_epi8((__m512i)x); }
  [[gnu::always_inline]] static H narrow(F x) {
    if constexpr (with_bf16) {
      return (H)_mm512_cvtneps_pbh(x);
    } else {
      return Base::narrow(x);
    }
  }

  [[gnu::always_inline]] static U pair(F low, F high) {
    if constexpr (with_bf16) {
      // Element 2i is low's i-th, 2i + 1 high's: words of 16 bits whose numbers are i and 16 + i.
      __m512i order = (__m512i)(Base::count_up() | (Base::count_up() + 16u) << 16);
      return (U)_mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    } else {
      return Base::pair(low, high);
    }
  }

  using Base::dot;
  // In assembly: clang 16 fails on the intrinsic.
  [[gnu::always_inline]] static F dot(bf16 type, F sum, U a, U b) {
    if constexpr (with_bf16) {
      asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
      return sum;
    } else {
      return Base::dot(type, sum, a, b);
    }
  }
  // In assembly: with the intrinsic, g++ 12 spills the sums of a tile at every step.
  [[gnu::always_inline]] static U dot(int8_t, U sum, U a, U b) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
  }
};

}  // namespace textmill::nn::kernel
