#pragma once

#include <cstdint>
#include <span>

#include "nn/kernel/types.h"

namespace textmill::nn::kernel {

class Pool;
struct Kernels;

// Kernels that work row by row: norms, activations, sums, gathers. Tensors are [rows, cols] without gaps, of the Type
// that a struct names; weights, their gradients and side results are f32. Each result is summed in an order that
// depends on its shape alone, so bytes are equal at any number of threads. An output that `accumulates` is added to.

/// Σ factor · mask[row] · dropout(x): sums, scaling, dropout, copies, forward and backward. `out` may be one of the x.
struct Mix {
  struct Operand {
    const void* x = nullptr;
    float factor = 1;
    const int32_t* mask = nullptr;  // 0 or 1 a row
    Dropout dropout;
  };
  Type type = Type::f32;
  int rows = 0, cols = 0;
  Operand a, b;  // b.x may be absent
  void* out = nullptr;
  bool accumulate = false;
};
void mix(Pool& pool, const Kernels& kernels, const Mix& mix);

/// Σ over rows and columns of mask[row] · x · y. `scratch` has dot_bytes().
double dot(Pool& pool, const Kernels& kernels, Type type, int rows, int cols, const void* x, const void* y,
           const int32_t* mask, std::byte* scratch);
size_t dot_bytes(int rows);

/// Layer: (x - mean) / sqrt(variance + eps) · scale + bias (Ba et al. 2016). Rms: x / sqrt(mean(x²) + eps) · scale
/// (Zhang and Sennrich 2019). L2: x / max(|x|, 1e-12). In groups of `size` columns, each a norm of its own.
enum class NormKind : uint8_t { layer, rms, l2 };

struct Norm {
  NormKind kind = NormKind::layer;
  Type type = Type::f32;
  int rows = 0, cols = 0, size = 0;
  float eps = 0;
  const float *scale = nullptr, *bias = nullptr;  // [size], or absent
  const void* x = nullptr;
  void* y = nullptr;
  QuantizedRows quantized;  // y once more, as quantize() gives it; absent if nobody wants it
  InputScaling scaling;     // of quantized
  float* side =
      nullptr;  // [rows, groups] 1/std, and for Layer as many means behind them; absent in inference

  int groups() const { return cols / size; }
  int side_cols() const { return kind == NormKind::layer ? 2 * groups() : groups(); }
};
void norm(Pool& pool, const Kernels& kernels, const Norm& norm);

/// Each row of x in 8 bits: exactly nn::quantize_rows.
void quantize(Pool& pool, const Kernels& kernels, Type type, int rows, int cols, const void* x,
              const InputScaling& scaling, QuantizedRows out);

struct NormBackward {
  Norm norm;  // with x and side, as forward left them; y is not read
  const void* dy = nullptr;
  void* dx = nullptr;  // may be dy; absent if nobody wants it
  bool accumulate = false;
  /// The gradient dropped out, as well: for the operand of the sum that the norm was taken of.
  void* d_dropped = nullptr;
  Dropout dropout;
  float *d_scale = nullptr, *d_bias = nullptr;  // added to; absent if frozen
};
/// `scratch` has norm_backward_bytes().
void norm_backward(Pool& pool, const Kernels& kernels, const NormBackward& norm, std::byte* scratch);
size_t norm_backward_bytes(int rows, int size);

/// y = act(x) ⊙ gate. The slope act'(x) is stored if wanted.
struct Activate {
  Activation activation = Activation::none;
  Type type = Type::f32;
  int rows = 0, cols = 0;
  const void *x = nullptr, *gate = nullptr;
  void *y = nullptr, *slope = nullptr;
};
void activate(Pool& pool, const Kernels& kernels, const Activate& activate);

/// dx = dy ⊙ act'(x) ⊙ gate and d_gate = dy ⊙ act(x); either may be absent.
struct ActivateBackward {
  Activate forward;  // with x (or slope, then no gate) and gate
  const void* dy = nullptr;
  void *dx = nullptr, *d_gate = nullptr;
  bool accumulate = false, accumulate_gate = false;
};
void activate_backward(Pool& pool, const Kernels& kernels, const ActivateBackward& activate);

/// y[r] = Σ tables[k][ids[k][r]].
struct Embed {
  static constexpr int kMaxTables = 4;
  struct Table {
    const float* values = nullptr;
    const int8_t* bytes = nullptr;  // in place of values: of a table in 8 bits, with the scales of its rows
    const float* scales = nullptr;
    const int32_t* ids = nullptr;
    float* gradient =
        nullptr;  // backward: rows of it are added to, in the order of the batch; absent if frozen
  };
  Type type = Type::f32;
  int rows = 0, cols = 0, count = 0;
  Table tables[kMaxTables];
  void* y = nullptr;
};
void embed(Pool& pool, const Kernels& kernels, const Embed& embed);
void embed_backward(Pool& pool, const Kernels& kernels, const Embed& embed, const void* dy);

/// y[r] = x[index[r]].
void gather(Pool& pool, Type type, int rows, int cols, const void* x, const int32_t* index, void* y);
/// x[index[r]] += y[r], in the order of r; x [x_rows, cols] is cleared first unless it accumulates.
void scatter(Pool& pool, const Kernels& kernels, Type type, int rows, int cols, const void* y,
             const int32_t* index, int x_rows, void* x, bool accumulate);

/// y[s] = the mean of rows [begin[s], begin[s + 1]) of x, and its transpose; an empty sequence has mean 0.
void mean(Pool& pool, const Kernels& kernels, Type type, int cols, std::span<const int32_t> begin,
          const void* x, void* y);
void mean_backward(Pool& pool, const Kernels& kernels, Type type, int cols, std::span<const int32_t> begin,
                   const void* dy, void* dx, bool accumulate);

/// Turns the first 2 · pairs columns of each head by its row's angles [rows, pairs, 2] (cosine, sine): the pair
/// (j, j + pairs) becomes (a cos - b sin, b cos + a sin). y may be x.
void rotate(Pool& pool, Type type, int rows, int cols, int head_dim, int pairs, const float* angles,
            const void* x, void* y, bool accumulate);

/// sums[j] += Σ x[r][j].
void sum_rows(Pool& pool, Type type, int rows, int cols, const void* x, float* sums);

/// loss[r] = weight[r] · (log Σ exp(logits) - logits[label]); a label below 0 has loss 0.
struct CrossEntropy {
  Type type = Type::f32;
  int rows = 0, cols = 0;
  const void* logits = nullptr;
  const int32_t* labels = nullptr;
  const float* weights = nullptr;
  float *losses = nullptr, *log_sums = nullptr;  // [rows]; the second for a backward pass, or not wanted
};
void cross_entropy(Pool& pool, const Kernels& kernels, const CrossEntropy& loss);
/// d_logits = weight · (softmax - one hot); may be the logits' own memory.
void cross_entropy_backward(Pool& pool, const Kernels& kernels, const CrossEntropy& loss, void* d_logits,
                            bool accumulate);

/// y = x in the other type, `count` elements.
void convert(Pool& pool, const Kernels& kernels, const void* x, Type from, void* y, Type to, int64_t count);

/// One step of AdamW (Loshchilov and Hutter 2019) with torch's arithmetic: rise1 = 1 - β1 and rise2 = 1 - β2, rounded once;
/// bias corrections are in step_size = lr / (1 - β1^t) and root_correction = sqrt(1 - β2^t), decoupled decay in
/// decay = 1 - lr · wd. Clears the gradient.
struct AdamWStep {
  float decay = 1, step_size = 0, root_correction = 1;
  float rise1 = 0.1F, beta2 = 0.999F, rise2 = 0.001F, epsilon = 1e-8F, gradient_scale = 1;
};

}  // namespace textmill::nn::kernel
