#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"
#include "text/added_tokens.h"
#include "text/wordpiece.h"

namespace textmill::text {

/// A part of a template.
struct TemplatePart {
  enum Source { special, first, second } source;  // special tokens, or a text
  int32_t type_id = 0;
  std::vector<int32_t> ids;  // of special tokens
};

/// Which text of a pair loses tokens.
enum class Strategy : uint8_t { longest_first, only_first, only_second };

/// What a tokenizer's files say, checked.
struct TokenizerSpec {
  WordPieceSpec model;
  std::vector<AddedToken> added_tokens;    // one per content, ids assigned
  std::vector<TemplatePart> single, pair;  // each text once
  std::optional<size_t> max_length;
  Side side = Side::right;
  Strategy strategy = Strategy::longest_first;
};

/// `config` is the text of tokenizer_config.json, or empty. Both throw invalid: the file, the field, what is supported.
TokenizerSpec parse_tokenizer_json(std::string_view json, std::string_view where, std::string_view config,
                                   std::string_view config_where);
/// Without `config` the text is lowercased, as the reference does.
TokenizerSpec parse_vocab_txt(std::string_view vocab, std::string_view where, std::string_view config,
                              std::string_view config_where);

}  // namespace textmill::text
