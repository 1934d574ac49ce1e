#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "nn/record.h"

namespace textmill::nn {

/// The rows of one space in one batch. Sequences lie end to end: rows of sequence s are [begin[s], begin[s +
/// 1]).
struct Rows {
  int count = 0;
  std::vector<int32_t> seq,
      pos;  // of each row: its sequence, its position in it (past rows of a cache included)
  std::vector<int32_t> begin;  // one per sequence, and the end
  std::vector<uint64_t> key;   // of each row, for dropout: says who the row is, never where it lies

  int sequences() const { return static_cast<int>(begin.size()) - 1; }
};

/// What a plan is run on: the rows of each space that is given, the numbers of each index that is given, the
/// values of each input. The rest (sequences, positions, narrowed spaces) is derived. Reused from batch to
/// batch, it allocates only while it grows.
class Batch {
 public:
  /// Sequences of these lengths. `past` rows of each are in the cache already; `keys` says who each sequence
  /// is (its rows' dropout keys follow from it); without it, its place in the batch.
  void set_rows(Space space, std::span<const int32_t> lengths, std::span<const int32_t> past = {},
                std::span<const uint64_t> keys = {});
  void set_index(Index index, std::span<const int32_t> values);
  void set_input(Tensor input, std::span<const float> values);

  /// Fills what follows from what was given; call it after the setters with the plan's own recording. Throws
  /// invalid naming the space, index or input that is missing, has the wrong size, or points outside of its
  /// space or table.
  void derive(const Recording& recording);

  const Rows& rows(int space) const { return rows_[space]; }
  std::span<const int32_t> index(int index) const { return indexes_[index]; }
  std::span<const float> input(int tensor) const { return inputs_[tensor]; }

  uint64_t seed = 0;  // of dropout
  std::vector<int32_t>
      caches;  // of each sequence, the executor's cache that it reads and extends; empty without

 private:
  std::vector<Rows> rows_;
  std::vector<std::vector<int32_t>> indexes_;
  std::vector<std::vector<float>> inputs_;
};

}  // namespace textmill::nn
