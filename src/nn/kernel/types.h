#pragma once

#include <cstddef>
#include <cstdint>

#include "nn/dropout.h"

namespace textmill::nn::kernel {

/// Of activations, and of the packed weights they meet. Sums are always f32.
enum class Type : uint8_t { f32, bf16 };

inline size_t bytes_of(Type type) { return type == Type::f32 ? 4 : 2; }

/// Rows in 8 bits as nn/quantized.h defines them: u8 = s8 + 128, and a scale a row.
struct QuantizedRows {
  uint8_t* values = nullptr;
  float* scales = nullptr;
  explicit operator bool() const { return values != nullptr; }
};

/// How rows are taken before they are quantized, nn::InputScales: columns divided by these, none of which is 0 (null: as they
/// are); then all rows by one step (0: each by its own).
struct InputScaling {
  const float* columns = nullptr;
  float step = 0;
  explicit operator bool() const { return columns != nullptr || step > 0; }
};

enum class Activation : uint8_t { none, gelu, gelu_tanh, relu, silu, tanh };

/// An element is kept if its hash is at least `threshold`; what is kept is multiplied by `scale` = 1 / (1 - p).
struct DropoutRate {
  DropoutRate() = default;
  explicit DropoutRate(double p) : threshold(dropout_threshold(p)), scale(static_cast<float>(1 / (1 - p))) {}
  explicit operator bool() const { return threshold != 0; }
  float factor(DropoutRow row, uint32_t column) const {
    return dropout_hash(row, column) < threshold ? 0 : scale;
  }
  uint32_t threshold = 0;
  float scale = 1;
};

/// Dropout of a tensor: the mask follows from these, see nn/dropout.h.
struct Dropout {
  DropoutRate rate;
  uint64_t seed = 0;
  uint32_t site = 0;
  const uint64_t* keys = nullptr;  // of each row

  explicit operator bool() const { return static_cast<bool>(rate); }
  DropoutRow row(int row) const { return dropout_row(seed, site, keys[row]); }
};

}  // namespace textmill::nn::kernel
