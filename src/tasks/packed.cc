#include "tasks/packed.h"

#include "base/error.h"

namespace textmill::tasks {

void PackedBatch::clear() {
  ids_.clear();
  types_.clear();
  lengths_.clear();
  keys_.clear();
}

void PackedBatch::add(std::span<const int32_t> input_ids, std::span<const int32_t> type_ids, uint64_t key) {
  TEXTMILL_CHECK(input_ids.size() == type_ids.size() && !input_ids.empty());
  ids_.insert(ids_.end(), input_ids.begin(), input_ids.end());
  types_.insert(types_.end(), type_ids.begin(), type_ids.end());
  lengths_.push_back(static_cast<int32_t>(input_ids.size()));
  keys_.push_back(key);
}

const nn::Batch& PackedBatch::fill(const models::EncoderInputs& inputs, const nn::Recording& recording,
                                   uint64_t seed, std::span<const float> states) {
  batch_.set_rows(inputs.tokens, lengths_, {}, keys_);
  batch_.set_index(inputs.ids, ids_);
  batch_.set_index(inputs.types, types_);
  if (inputs.states.id >= 0) batch_.set_input(inputs.states, states);
  batch_.seed = seed;
  batch_.derive(recording);
  return batch_;
}

}  // namespace textmill::tasks
