#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/bert.h"
#include "nn/batch.h"

namespace textmill::tasks {

/// One sequence as the engine takes it: special tokens included, padding gone.
struct PackedItem {
  std::vector<int32_t> input_ids, type_ids;  // of the same length
};

/// Sequences end to end, on their way into an engine's batch. Used again, it allocates only while it grows.
class PackedBatch {
 public:
  void clear();
  /// `key` says who the sequence is, for dropout.
  void add(std::span<const int32_t> input_ids, std::span<const int32_t> type_ids, uint64_t key = 0);

  int64_t tokens() const { return std::ssize(ids_); }
  int64_t sequences() const { return std::ssize(lengths_); }
  std::span<const int32_t> input_ids() const { return ids_; }

  /// The batch for `recording`, which asked for `inputs`, perhaps for states.
  const nn::Batch& fill(const models::EncoderInputs& inputs, const nn::Recording& recording,
                        uint64_t seed = 0, std::span<const float> states = {});

 private:
  std::vector<int32_t> ids_, types_, lengths_;
  std::vector<uint64_t> keys_;
  nn::Batch batch_;
};

}  // namespace textmill::tasks
