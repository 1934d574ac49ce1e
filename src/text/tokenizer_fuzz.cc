// Two ways: the input is a tokenizer.json, or text for a tokenizer that has all features. Whatever loads encodes;
// offsets lie within the text; truncation keeps what it says.

#include <cstdlib>
#include <string>

#include "base/error.h"
#include "text/tokenizer.h"

namespace {

using namespace textmill;

constexpr std::string_view kFile = R"({"version": "1.0",
  "added_tokens": [{"id": 1, "content": "[UNK]", "special": true, "normalized": false},
                   {"id": 2, "content": "[MASK]", "lstrip": true, "rstrip": true, "normalized": false},
                   {"id": 20, "content": "one", "single_word": true, "normalized": false}],
  "normalizer": {"type": "BertNormalizer", "lowercase": true},
  "pre_tokenizer": {"type": "BertPreTokenizer"},
  "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 4], "cls": ["[CLS]", 3]},
  "model": {"type": "WordPiece", "max_input_chars_per_word": 8, "vocab": {"a": 0, "[UNK]": 1, "[MASK]": 2, "[CLS]": 3,
            "[SEP]": 4, "##a": 5, "ab": 6, "##ba": 7, "é": 8, "e": 9, "##e": 10, "龍": 11, "!": 12}}})";

uint32_t code_points(std::string_view text) {
  uint32_t count = 0;
  for (char byte : text) count += (static_cast<unsigned char>(byte) & 0xc0) != 0x80;
  return count;
}

void encode(const text::Tokenizer& tokenizer, std::string_view input) {
  std::string_view first = input.substr(0, input.find('\n')), second = input.substr(first.size());
  for (bool pair : {false, true}) {
    std::optional<std::string_view> other;
    if (pair) other = second;
    text::Encoding all = tokenizer.encode(first, other);
    uint32_t length = std::max(code_points(first), code_points(second));
    if (all.type_ids.size() != all.size() || all.offsets.size() != all.size()) std::abort();
    for (size_t i = 0; i < all.size(); ++i) {
      if (all.ids[i] < 0 || all.ids[i] >= tokenizer.vocab_size()) std::abort();
      if (all.offsets[i].begin > all.offsets[i].end || all.offsets[i].end > length) std::abort();
    }
    for (size_t max_length : {3U, 6U, 7U})
      for (text::Side side : {text::Side::left, text::Side::right}) {
        size_t size = tokenizer.encode(first, other, {.max_length = max_length, .side = side}).size();
        if (size != std::min(all.size(), max_length)) std::abort();
      }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const text::Tokenizer fixed = text::Tokenizer::from_json(kFile);
  std::string_view input(reinterpret_cast<const char*>(data), size);
  try {
    if (input.starts_with('{'))
      encode(text::Tokenizer::from_json(input), input);
    else
      encode(fixed, input);
  } catch (const base::Error& error) {
    if (error.kind() == base::Kind::internal) std::abort();
  }
  return 0;
}
