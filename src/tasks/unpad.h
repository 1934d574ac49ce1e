#pragma once

#include <cstdint>
#include <span>

#include "data/dataset.h"
#include "models/bert.h"
#include "tasks/packed.h"

namespace textmill::tasks {

/// A sequence that came as numbers, padded or not.
struct RawItem {
  std::span<const int64_t> input_ids, attention_mask,
      token_type_ids;  // the last two may be empty: ones, zeros
};

/// Takes the padding off. Throws invalid with the field and the position: a mask that is not a prefix of ones, other
/// lengths, an id outside of the vocabulary, a type that the model does not have, no token at all or more than `most`.
PackedItem unpad(const RawItem& item, const models::BertConfig& architecture, int most);

/// The same for a row of input_ids, which came last from `reader`: the error begins with "FILE:LINE: ".
PackedItem unpad(const data::Example& row, const data::DatasetReader& reader,
                 const models::BertConfig& architecture, int most);

}  // namespace textmill::tasks
