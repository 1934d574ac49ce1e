#pragma once

#include <array>
#include <span>

#include "nn/kernel/few_bits.h"
#include "nn/kernel/types.h"

namespace textmill::nn::kernel {

class Pool;
struct Kernels;

// Matrix products y = a · b with f32 sums, those of bytes with 32-bit integers. `a` is row-major. `b` is packed once and used often: its columns in panels
// as wide as a tile of the result, [panel][word of depth][column], where a 32-bit word holds one f32, or two neighbouring
// bf16 or four s8 of the depth (the rest of the last word and of the last panel is zero). So one loop serves all types: broadcast a
// word of `a`, multiply with a register of words of `b`. Each element of y is summed in the order of the depth, so it
// does not depend on how many rows there are nor on who computes it.

/// a · b for a [rows, depth] and a packed b [depth, cols].
struct Term {
  const void* a = nullptr;
  const std::byte* b = nullptr;
  int depth = 0;
  const FewBits* few_bits = nullptr;  // in place of b; one term's at most
};

/// y = dropout((act(scale · Σ terms + bias)) ⊙ factor) + residual, each part optional. In 8 bits (`in_8_bits`) the one
/// term's a is u8 and its b s8, and (start + its sum) · row's scale · column's scale stands in place of scale · Σ terms. All tensors are [rows, cols]
/// without gaps; those read and written must not overlap, but `residual` may be `out`.
struct Product {
  static constexpr int kMaxTerms = 4;
  Type type = Type::f32;      // of a, b, slope, factor, residual
  Type out_type = Type::f32;  // of out
  int rows = 0, cols = 0;
  struct In8Bits {
    const float *row_scales = nullptr, *column_scales = nullptr;
    const int32_t* starts = nullptr;  // of each column
    explicit operator bool() const { return row_scales != nullptr; }
  };
  std::array<Term, kMaxTerms> terms;
  int term_count = 0;
  In8Bits in_8_bits;
  float scale = 1;
  const float* bias = nullptr;
  Activation activation = Activation::none;
  void* slope = nullptr;         // written: act'(its argument)
  const void* factor = nullptr;  // a slope that was saved, in the backward pass
  Dropout dropout;
  const void* residual = nullptr;
  void* out = nullptr;
};

/// Several products of equal `rows` as one phase: those that read one tensor, say. `scratch` has multiply_bytes(), none
/// where no weight is in few bits.
void multiply(Pool& pool, const Kernels& kernels, std::span<const Product> products,
              std::byte* scratch = nullptr);
size_t multiply_bytes(const Pool& pool, const Kernels& kernels, std::span<const Product> products);

/// Bytes of a packed [depth, cols].
size_t packed_bytes(const Kernels& kernels, Type type, int64_t depth, int64_t cols);

/// Packs w [rows, cols], f32. As b = wᵀ ([cols, rows], for x · wᵀ) or as b = w ([rows, cols], for dy · w).
void pack_transposed(Pool& pool, const Kernels& kernels, Type type, const float* w, int rows, int cols,
                     std::byte* packed);
void pack(Pool& pool, const Kernels& kernels, Type type, const float* w, int rows, int cols,
          std::byte* packed);

/// The same for a weight in 8 bits, w [rows, cols], to be b = wᵀ.
size_t packed_bytes_in_8_bits(const Kernels& kernels, int64_t depth, int64_t cols);
void pack_in_8_bits(Pool& pool, const Kernels& kernels, const int8_t* w, int rows, int cols,
                    std::byte* packed);

/// dw [cols of dy, cols of x] = or += dyᵀ · x, and db = or += the column sums of dy, in f32.
struct WeightGradient {
  const void* dy = nullptr;  // [rows, out]
  const void* x = nullptr;   // [rows, in]
  int out = 0, in = 0;
  float* dw = nullptr;
  float* db = nullptr;      // or nobody wants it
  bool accumulate = false;  // +=, else =
};

/// Several of equal `rows` as two phases; those in a row that read the same x pack it once. `scratch` has
/// weight_gradient_bytes().
void weight_gradients(Pool& pool, const Kernels& kernels, Type type, int rows,
                      std::span<const WeightGradient> gradients, std::byte* scratch);
size_t weight_gradient_bytes(const Kernels& kernels, Type type, int rows,
                             std::span<const WeightGradient> gradients);

}  // namespace textmill::nn::kernel
