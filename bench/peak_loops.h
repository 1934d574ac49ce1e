#pragma once

#include <immintrin.h>

namespace peaks {

// Loops that only multiply and add, in registers: what a core can do at most. Each runs kSteps · kChains instructions.

constexpr int kChains = 12;  // enough independent accumulators to cover the latency of two ports
constexpr int kSteps = 20'000;

#define WIDE [[gnu::target("avx512f,avx512bw,avx512vl,avx512vnni,avx512bf16,fma"), gnu::noinline]]

WIDE inline float multiply_add() {
  __m512 c[kChains], a = _mm512_set1_ps(1e-9F), b = _mm512_set1_ps(1.0F);
  for (auto& x : c) x = a;
  for (int i = 0; i < kSteps; i++)
#pragma GCC unroll 12
    for (auto& x : c) x = _mm512_fmadd_ps(a, b, x);
  for (int i = 1; i < kChains; i++) c[0] = _mm512_add_ps(c[0], c[i]);
  return _mm512_reduce_add_ps(c[0]);
}

WIDE inline float dot_bf16() {
  __m512 c[kChains];
  auto a = __m512bh(_mm512_set1_epi16(0x3f80)), b = a;
  for (auto& x : c) x = _mm512_setzero_ps();
  for (int i = 0; i < kSteps; i++)
#pragma GCC unroll 12
    for (auto& x : c) x = _mm512_dpbf16_ps(x, a, b);
  for (int i = 1; i < kChains; i++) c[0] = _mm512_add_ps(c[0], c[i]);
  return _mm512_reduce_add_ps(c[0]);
}

WIDE inline float dot_int8() {
  __m512i c[kChains], a = _mm512_set1_epi8(1), b = a;
  for (auto& x : c) x = _mm512_setzero_si512();
  for (int i = 0; i < kSteps; i++)
#pragma GCC unroll 12
    for (auto& x : c) x = _mm512_dpbusd_epi32(x, a, b);
  for (int i = 1; i < kChains; i++) c[0] = _mm512_add_epi32(c[0], c[i]);
  return float(_mm512_reduce_add_epi32(c[0]));
}

#undef WIDE

}  // namespace peaks
