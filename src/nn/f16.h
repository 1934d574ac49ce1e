#pragma once

#include <bit>
#include <cstdint>

namespace textmill::nn {

inline float widen_f16(uint16_t half) {
  uint32_t sign = (half & 0x8000u) << 16, exponent = half >> 10 & 31, fraction = half & 1023u;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | fraction << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
  float subnormal = static_cast<float>(fraction) * 0x1p-24f;
  return sign ? -subnormal : subnormal;
}

/// Rounds to nearest, ties to even.
inline uint16_t narrow_f16(float x) { return std::bit_cast<uint16_t>(static_cast<_Float16>(x)); }

}  // namespace textmill::nn
