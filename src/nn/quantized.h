#pragma once

#include <cstdint>
#include <vector>

#include "nn/weights.h"

namespace textmill::nn {

// A linear layer in 8 bits, defined: weights have one scale an output channel, activations one a row, found when the row
// comes. Both are symmetric in [-127, 127]. Activations are stored as u8 = s8 + 128, because what multiplies fast on a CPU
// is unsigned by signed bytes; a sum then starts at -128 times the sum of its channel's weights, which takes the offset
// back exactly. Kernels must give the same integers as these loops.

/// Sums of longer products might leave 32 bits on their way: 255 * 127 * 65,536 < 2^31.
inline constexpr int kMaxQuantizedColumns = 65'536;

/// [rows, cols] of a linear layer, row-major: weight = value * scale of its row.
struct QuantizedWeight {
  int rows = 0, cols = 0;
  std::vector<int8_t> values;
  std::vector<float> scales;         // of each row
  std::vector<int32_t> starts;       // of each row's sums: -128 * sum of its values
  std::vector<float> input_columns;  // InputScales, as its own
  float input_step = 0;

  InputScales input() const { return {input_columns, input_step}; }
};

/// Of a weight that has values. Rounds to nearest, ties to even. Throws invalid naming the weight if a value is not finite or a row is longer than
/// kMaxQuantizedColumns.
QuantizedWeight quantize_weight(const Weight& weight);

/// The same of the weight with its columns multiplied by `columns`, which its input is divided by, [cols] or none.
QuantizedWeight quantize_weight(const Weight& weight, std::vector<float> columns);

/// Of a weight held in i8, as it is held. Throws invalid if its rows are too long.
QuantizedWeight held_in_8_bits(const Weight& weight);
/// QuantizedWeight::starts of a weight held in i8. Throws as above.
std::vector<int32_t> sum_starts(const Weight& weight);

/// Each row of x [rows, cols] as u8 = s8 + 128, and its scale: the largest magnitude / 127. A row too small for a normal
/// scale is zeros. A row with a value that is not finite gets a scale of NaN, so that its products are NaN too.
void quantize_rows(const float* x, int rows, int cols, uint8_t* values, float* scales);
/// The same as `input` says. With a step all rows have it as their scale, and what is larger than 127 steps is 127; those with
/// a value that is not finite still have NaN.
void quantize_rows(const float* x, int rows, int cols, const InputScales& input, uint8_t* values,
                   float* scales);

/// sums [rows, w.rows] = (x - 128) · wᵀ, exactly. x is [rows, w.cols].
void naive_integer_product(const uint8_t* x, int rows, const QuantizedWeight& w, int32_t* sums);

/// y [rows, w.rows] = sum * row's scale * channel's scale, multiplied in this order, + bias (of w.rows, or null). x is
/// [rows, w.cols] in f32, quantized here.
void naive_quantized_linear(const float* x, int rows, const QuantizedWeight& w, const float* bias, float* y);

}  // namespace textmill::nn
