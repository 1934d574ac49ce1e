#include "train/examples.h"

#include "base/error.h"
#include "base/hash.h"

namespace textmill::train {

void Examples::add(std::span<const int32_t> input_ids, std::span<const int32_t> type_ids, int32_t label) {
  TEXTMILL_CHECK(input_ids.size() == type_ids.size());
  ids_.insert(ids_.end(), input_ids.begin(), input_ids.end());
  types_.insert(types_.end(), type_ids.begin(), type_ids.end());
  labels_.push_back(label);
  begin_.push_back(std::ssize(ids_));
}

void Examples::relabel(std::span<const int32_t> to) {
  for (int32_t& label : labels_) label = to[label];
}

uint32_t Examples::checksum() const {
  uint32_t sum = 0;
  for (const auto* numbers : {&ids_, &types_, &labels_})
    sum = base::crc32c(std::as_bytes(std::span(*numbers)), sum);
  return base::crc32c(std::as_bytes(std::span(begin_)), sum);
}

}  // namespace textmill::train
