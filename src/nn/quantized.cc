#include "nn/quantized.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"

namespace textmill::nn {

using base::Error, base::Kind;

namespace {

void check_length(const Weight& weight) {
  if (weight.cols > kMaxQuantizedColumns) {
    throw Error(Kind::invalid, fmt::format("weight {}: rows of {} numbers, 8 bits take at most {}",
                                           weight.name, weight.cols, kMaxQuantizedColumns));
  }
}

// NaN if a value is not finite, 0 if all are (nearly) zero.
float scale_of(const float* x, int cols) {
  float largest = 0;
  for (int j = 0; j < cols; j++) {
    if (!std::isfinite(x[j])) return std::numeric_limits<float>::quiet_NaN();
    largest = std::max(largest, std::abs(x[j]));
  }
  float scale = largest / 127;
  return scale < std::numeric_limits<float>::min() ? 0 : scale;
}

// The inverse that values are multiplied by; nothing is left of a row without a usable scale.
float inverse_of(float scale) { return scale > 0 ? 1 / scale : 0; }

int quantized(float x, float inverse) {
  return inverse == 0 ? 0 : static_cast<int>(std::nearbyint(x * inverse));
}

}  // namespace

QuantizedWeight quantize_weight(const Weight& weight) { return quantize_weight(weight, {}); }

QuantizedWeight quantize_weight(const Weight& weight, std::vector<float> columns) {
  check_length(weight);
  int rows = static_cast<int>(weight.rows), cols = static_cast<int>(weight.cols);
  QuantizedWeight w{rows, cols, std::vector<int8_t>(size_t(rows) * cols), std::vector<float>(rows),
                    std::vector<int32_t>(rows)};
  std::vector<float> row(cols);
  for (int i = 0; i < rows; i++) {
    weight.read(i, 1, row.data());
    for (size_t j = 0; j < columns.size(); j++) row[j] *= columns[j];
    w.scales[i] = scale_of(row.data(), cols);
    if (std::isnan(w.scales[i])) {
      throw Error(Kind::invalid,
                  fmt::format("weight {}: row {} has a number that is not finite", weight.name, i));
    }
    float inverse = inverse_of(w.scales[i]);
    for (int j = 0; j < cols; j++) {
      int value = quantized(row[j], inverse);
      w.values[size_t(i) * cols + j] = static_cast<int8_t>(value);
      w.starts[i] -= 128 * value;
    }
  }
  w.input_columns = std::move(columns);
  return w;
}

QuantizedWeight held_in_8_bits(const Weight& weight) {
  auto* values = reinterpret_cast<const int8_t*>(weight.bytes().data());
  return {.rows = static_cast<int>(weight.rows),
          .cols = static_cast<int>(weight.cols),
          .values = {values, values + weight.count()},
          .scales = {weight.scales().begin(), weight.scales().end()},
          .starts = sum_starts(weight),
          .input_columns = {weight.input().columns.begin(), weight.input().columns.end()},
          .input_step = weight.input().step};
}

std::vector<int32_t> sum_starts(const Weight& weight) {
  TEXTMILL_CHECK(weight.dtype() == Dtype::i8);
  check_length(weight);
  std::vector<int32_t> starts(weight.rows);
  auto* row = reinterpret_cast<const int8_t*>(weight.bytes().data());
  for (int32_t& start : starts) {
    start = -128 * std::accumulate(row, row + weight.cols, 0);
    row += weight.cols;
  }
  return starts;
}

void quantize_rows(const float* x, int rows, int cols, uint8_t* values, float* scales) {
  for (int i = 0; i < rows; i++) {
    scales[i] = scale_of(x + size_t(i) * cols, cols);
    float inverse = inverse_of(scales[i]);
    for (size_t at = size_t(i) * cols; at < size_t(i + 1) * cols; at++) {
      values[at] = static_cast<uint8_t>(quantized(x[at], inverse) + 128);
    }
  }
}

void quantize_rows(const float* x, int rows, int cols, const InputScales& input, uint8_t* values,
                   float* scales) {
  std::vector<float> row(cols);
  for (int i = 0; i < rows; i++, x += cols, values += cols, scales++) {
    std::copy_n(x, cols, row.begin());
    for (size_t j = 0; j < input.columns.size(); j++) row[j] /= input.columns[j];
    if (input.step == 0) {
      quantize_rows(row.data(), 1, cols, values, scales);
      continue;
    }
    *scales = std::isnan(scale_of(row.data(), cols)) ? std::numeric_limits<float>::quiet_NaN() : input.step;
    float inverse = inverse_of(*scales);
    for (int j = 0; j < cols; j++) {
      float most = inverse == 0 ? 0 : std::clamp(row[j] * inverse, -127.0F, 127.0F);
      values[j] = static_cast<uint8_t>(static_cast<int>(std::nearbyint(most)) + 128);
    }
  }
}

void naive_integer_product(const uint8_t* x, int rows, const QuantizedWeight& w, int32_t* sums) {
  for (int i = 0; i < rows; i++) {
    for (int n = 0; n < w.rows; n++) {
      int32_t sum = w.starts[n];
      for (int k = 0; k < w.cols; k++) sum += x[size_t(i) * w.cols + k] * w.values[size_t(n) * w.cols + k];
      sums[size_t(i) * w.rows + n] = sum;
    }
  }
}

void naive_quantized_linear(const float* x, int rows, const QuantizedWeight& w, const float* bias, float* y) {
  std::vector<uint8_t> values(size_t(rows) * w.cols);
  std::vector<float> scales(rows);
  std::vector<int32_t> sums(size_t(rows) * w.rows);
  quantize_rows(x, rows, w.cols, w.input(), values.data(), scales.data());
  naive_integer_product(values.data(), rows, w, sums.data());
  for (int i = 0; i < rows; i++) {
    for (int n = 0; n < w.rows; n++) {
      size_t at = size_t(i) * w.rows + n;
      y[at] = static_cast<float>(sums[at]) * scales[i] * w.scales[n] + (bias ? bias[n] : 0);
    }
  }
}

}  // namespace textmill::nn
