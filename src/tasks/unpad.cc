#include "tasks/unpad.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace textmill::tasks {
namespace {

using base::Error;
using base::Kind;

/// The number of ones that `mask` begins with; after them only zeros are allowed.
size_t length_of(std::span<const int64_t> mask) {
  size_t length = std::find(mask.begin(), mask.end(), 0) - mask.begin();
  for (size_t i = 0; i < mask.size(); i++) {
    if (mask[i] == (i < length ? 1 : 0)) continue;
    throw Error(Kind::invalid,
                fmt::format("attention_mask[{}] is {}, expected ones and then zeros (padding on the right)",
                            i, mask[i]));
  }
  return length;
}

std::vector<int32_t> take(const char* field, std::span<const int64_t> values, size_t length, int64_t below) {
  std::vector<int32_t> taken(length);
  for (size_t i = 0; i < length; i++) {
    if (values[i] < 0 || values[i] >= below) {
      throw Error(Kind::invalid,
                  fmt::format("{}[{}] is {}, expected 0 to {}", field, i, values[i], below - 1));
    }
    taken[i] = static_cast<int32_t>(values[i]);
  }
  return taken;
}

void check_length(const char* field, size_t length, size_t expected) {
  if (length == 0 || length == expected) return;
  throw Error(Kind::invalid, fmt::format("{} has {} numbers, input_ids {}", field, length, expected));
}

}  // namespace

PackedItem unpad(const RawItem& item, const models::BertConfig& architecture, int most) {
  size_t padded = item.input_ids.size();
  check_length("attention_mask", item.attention_mask.size(), padded);
  check_length("token_type_ids", item.token_type_ids.size(), padded);
  size_t length = item.attention_mask.empty() ? padded : length_of(item.attention_mask);
  if (length == 0) throw Error(Kind::invalid, "input_ids: expected at least one token that is not padding");
  if (std::cmp_greater(length, most))
    throw Error(Kind::invalid, fmt::format("input_ids: {} tokens, at most {}", length, most));
  PackedItem packed{take("input_ids", item.input_ids, length, architecture.vocab), {}};
  packed.type_ids = item.token_type_ids.empty() ? std::vector<int32_t>(length)
                                                : take("token_type_ids", item.token_type_ids, length,
                                                       std::max(1, architecture.types));
  return packed;
}

PackedItem unpad(const data::Example& row, const data::DatasetReader& reader,
                 const models::BertConfig& architecture, int most) {
  try {
    return unpad({row.input_ids, row.attention_mask, row.token_type_ids}, architecture, most);
  } catch (const Error& error) {  // it names the field
    throw Error(error.kind(), fmt::format("{}: {}", reader.where(), error.what()));
  }
}

}  // namespace textmill::tasks
