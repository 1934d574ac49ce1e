#pragma once

#include <cstddef>

#include "nn/kernel/attention.h"
#include "nn/kernel/cpu_features.h"
#include "nn/kernel/product.h"
#include "nn/kernel/rows.h"

namespace textmill::nn::kernel {

// The table of one instruction set: the parts of kernels that one task runs, over some of the rows or panels. The
// functions that split the work into tasks (multiply() and its like) are written once, in product.cc and its like.

/// dyᵀ · x over packed rows.
struct PackedGradient {
  const std::byte *dy, *x;  // panels of `out` and of `in` columns, `words` deep
  int words;
  int out, in;
  float* dw;
  bool accumulate;
};

/// How many words of depth a weight gradient sums in registers before it adds to memory: packed panels of that depth
/// stay in a core's second-level cache.
constexpr int kGradientWords = 1024;

struct ProductKernels {
  // `scratch`: room for a panel, if a term is in few bits.
  void (*multiply)(const Product&, int first_row, int rows, int first_panel, int panels, std::byte* scratch);
  void (*multiply_in_8_bits)(const Product&, int first_row, int rows, int first_panel, int panels,
                             std::byte* scratch);
  void (*pack_in_8_bits)(const int8_t* w, int rows, int cols, int panel, std::byte* packed);
  void (*pack_transposed)(const float* w, int rows, int cols, int panel, std::byte* packed);
  void (*pack_weight)(const float* w, int rows, int cols, int first_row, int count, std::byte* packed);
  void (*pack_activations)(const void* x, int rows, int cols, int first_row, int count, std::byte* packed,
                           float* column_sums);
  void (*weight_gradient)(const PackedGradient&, int panel_out, int first_panel_in, int panels_in);
};

/// Of rows.h, on rows [first, first + rows) or columns [first, first + count).
struct RowKernels {
  void (*mix)(const Mix&, int first, int rows);
  double (*dot)(const void* x, const void* y, const int32_t* mask, int cols, int first, int rows);
  void (*norm)(const Norm&, int first, int rows);
  void (*norm_backward)(const NormBackward&, int first, int rows, float* sums);
  void (*activate)(const Activate&, int first, int rows);
  void (*activate_backward)(const ActivateBackward&, int first, int rows);
  void (*embed)(const Embed&, int first, int rows);
  void (*embed_backward)(const Embed&, const void* dy, int first, int count);
  void (*scatter)(const void* y, const int32_t* index, int rows, int cols, void* x, int first, int count);
  void (*mean)(const void* x, int cols, int first, int end, void* y);
  void (*mean_backward)(const void* dy, int cols, int first, int end, void* dx, bool accumulate);
  void (*cross_entropy)(const CrossEntropy&, int first, int rows);
  void (*cross_entropy_backward)(const CrossEntropy&, void* d_logits, bool accumulate, int first, int rows);
  void (*quantize)(const void* x, int cols, int first, int rows, const InputScaling& scaling,
                   QuantizedRows out);
  void (*widen)(const void* x, float* y, int count);
  void (*narrow)(const float* x, void* y, int count);
};

/// On f32, whatever the type of the activations.
struct OptimizerKernels {
  void (*adamw)(const AdamWStep&, float* values, float* gradient, float* m, float* v, int64_t count);
  double (*squares)(const float* x, int64_t count);  // Σ x²
};

struct AttentionKernels {
  size_t (*scratch_bytes)(int head_dim, int most_keys);
  void (*forward)(const Attention&, int run, int head, std::byte* scratch);
  void (*backward)(const Attention&, const AttentionGradient&, int sequence, int kv_head, std::byte* scratch);
};

/// All that works on activations of one type.
struct TypedKernels {
  ProductKernels product;
  RowKernels rows;
  AttentionKernels attention;
};

struct Kernels {
  Path path;
  int tile_rows;  // of a product
  int panel;      // columns of a tile, and of a packed panel
  TypedKernels f32, bf16;
  OptimizerKernels optimizer;

  const TypedKernels& of(Type type) const { return type == Type::f32 ? f32 : bf16; }
};

/// The table of a path that this machine supports.
const Kernels& kernels(Path path);

extern const Kernels kAvx512Bf16Kernels, kAvx512VnniKernels, kAvxVnniKernels, kAvx2Kernels,
    kPortableKernels;  // in path_*.cc

}  // namespace textmill::nn::kernel
