#pragma once

#include <cstddef>
#include <cstdint>

namespace textmill::nn::kernel {

class Pool;
struct Kernels;

// Weights alone in few bits. They are kept as codes, in panels as products want them; a task widens a panel to the product's
// type when it comes to it, into a buffer that stays in its core's cache. So memory is read for the codes alone, which is
// what a product of few rows waits for, and the result is that of the widened weight, byte for byte.

/// All about a weight [rows, cols] but its numbers.
struct FewBitsShape {
  int rows = 0, cols = 0;
  int bits = 4;  // of a code: 4 or 8
  int groups = 0;
  bool divided = false;
};

/// w[row, col] = scale · (code - zero), the scale and zero being those at [row, group_of[col]]; then / divisors[col], if
/// there are any.
struct FewBitsWeight {
  FewBitsShape shape;
  const uint8_t* codes = nullptr;                   // [rows, cols]
  const float *scales = nullptr, *zeros = nullptr;  // [rows, groups]
  const int32_t* group_of = nullptr;                // [cols]
  const float* divisors = nullptr;                  // [cols], or null
};

/// The same, packed to be b = wᵀ. A panel has each group's scales and zeros + 2^23, then the codes: of each depth a byte a column,
/// or in 4 bits of each two, the first of them in the low half.
struct FewBits {
  int depth = 0, bits = 4;
  const int32_t* group_of = nullptr;
  const float* divisors = nullptr;
  const std::byte* panels = nullptr;
  int64_t panel_bytes = 0, codes_at = 0;  // of one panel, and where in it codes begin

  explicit operator bool() const { return panels != nullptr; }
};

size_t few_bits_bytes(const Kernels& kernels, const FewBitsShape& shape);
/// What pack_few_bits() wrote, or will write, at `data`, which is aligned to 64 bytes.
FewBits few_bits_at(const Kernels& kernels, const FewBitsShape& shape, const std::byte* data);
void pack_few_bits(Pool& pool, const Kernels& kernels, const FewBitsWeight& weight, std::byte* data);

}  // namespace textmill::nn::kernel
