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
  std::vector<int32_t> seq, pos;  // of each row: its sequence, its position there (a cache's past included)
  std::vector<int32_t> begin;     // one per sequence, and the end; empty for selected rows
  std::vector<uint64_t> key;      // of each row, for dropout: says who the row is, never where it lies

  int sequences() const { return begin.empty() ? 0 : static_cast<int>(begin.size()) - 1; }
  int length(int sequence) const { return begin[sequence + 1] - begin[sequence]; }
};

/// What a plan runs on: the rows of each given space, the numbers of each given index, the values of each
/// input. The rest (sequences, positions, selected and narrowed rows) is derived. Reused from batch to batch,
/// it allocates only while it grows.
class Batch {
 public:
  /// Sequences of these lengths. `past` rows of each are in its cache already. `keys` say who each sequence
  /// is (below 2^44; its rows' dropout follows from them); without, its place in the batch.
  void set_rows(Space space, std::span<const int32_t> lengths, std::span<const int32_t> past = {},
                std::span<const uint64_t> keys = {});
  void set_index(Index index, std::span<const int32_t> values);
  void set_input(Tensor input, std::span<const float> values);  // [rows, cols]

  /// Fills what follows from what was given, by the recording of the plan that will run, and checks all of
  /// it. Throws invalid naming the space, index or input that is missing, has the wrong size, or points out
  /// of its space or table.
  void derive(const Recording& recording);
  /// Only the rows of all spaces: enough for Plan::assign and Plan::flops.
  void derive_rows(const Recording& recording);

  const Rows& rows(int space) const { return rows_[space]; }
  std::span<const int32_t> index(int index) const { return indexes_[index]; }
  std::span<const float> input(int tensor) const { return inputs_[tensor]; }

  uint64_t seed = 0;            // of dropout
  std::vector<int32_t> caches;  // of each sequence: the executor's cache that it reads and extends

 private:
  enum class State : uint8_t { unknown, busy, known };
  void resolve_space(const Recording& recording, int space);
  void resolve_index(const Recording& recording, int index);
  void select(const Rows& parent, std::span<const int32_t> which, Rows& rows);
  void check(const Recording& recording, const Op& op) const;

  std::vector<Rows> rows_;
  std::vector<std::vector<int32_t>> indexes_;
  std::vector<std::vector<float>> inputs_;
  std::vector<State> space_state_, index_state_;
};

}  // namespace textmill::nn
