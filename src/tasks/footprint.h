#pragma once

#include <cstdint>
#include <span>

#include "models/bert.h"
#include "nn/plan.h"

namespace textmill::tasks {

/// Bytes of memory, known before anything is allocated.
struct Footprint {
  int64_t packed = 0;                              // matrices, as products want them
  int64_t tables = 0;                              // embeddings and vectors that are not trained, f32
  int64_t activations = 0;                         // the arena
  int64_t quantized = 0;                           // the largest input of a product in 8 bits, in 8 bits
  int64_t master = 0, gradients = 0, moments = 0;  // of training, f32

  int64_t total() const { return packed + tables + activations + quantized + master + gradients + moments; }
};

/// What running `plan` on sequences of these lengths takes; gradients, and what the optimizer holds, if it trains.
Footprint footprint(const nn::Plan& plan, const models::EncoderInputs& inputs,
                    std::span<const int32_t> lengths);

/// A batch with only its rows: enough for what plans count.
nn::Batch rows_of(const nn::Plan& plan, const models::EncoderInputs& inputs,
                  std::span<const int32_t> lengths);

/// Multiplications and additions of `plan` on sequences of these lengths.
int64_t flops(const nn::Plan& plan, const models::EncoderInputs& inputs, std::span<const int32_t> lengths);

}  // namespace textmill::tasks
