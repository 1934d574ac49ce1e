#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace textmill::train {

/// Tokenized rows, end to end in memory: 8 bytes a token.
class Examples {
 public:
  void add(std::span<const int32_t> input_ids, std::span<const int32_t> type_ids, int32_t label);

  /// Replaces each label by to[label].
  void relabel(std::span<const int32_t> to);

  uint32_t size() const { return static_cast<uint32_t>(labels_.size()); }
  int64_t tokens() const { return std::ssize(ids_); }
  std::span<const int32_t> input_ids(uint32_t row) const { return part(ids_, row); }
  std::span<const int32_t> type_ids(uint32_t row) const { return part(types_, row); }
  int32_t label(uint32_t row) const { return labels_[row]; }
  int64_t length(uint32_t row) const { return begin_[row + 1] - begin_[row]; }

  /// CRC-32C of all of it: two runs that learn from the same numbers have the same.
  uint32_t checksum() const;

 private:
  std::span<const int32_t> part(const std::vector<int32_t>& all, uint32_t row) const {
    return std::span(all).subspan(begin_[row], length(row));
  }
  std::vector<int32_t> ids_, types_, labels_;
  std::vector<int64_t> begin_{0};
};

}  // namespace textmill::train
