#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/normalize.h"
#include "text/tokenizer.h"
#include "text/trie.h"

namespace textmill::text {

struct WordPieceSpec {
  std::vector<std::pair<std::string, int32_t>> vocab;
  std::string unk_token = "[UNK]";
  std::string continuing_subword_prefix = "##";
  size_t max_input_chars_per_word = 100;
  BertNormalizer normalizer;
};

/// BERT's normalization, its split into words, and greedy longest-match-first pieces of each (Devlin et al. 2019).
class WordPiece {
 public:
  /// The vocabulary has unk_token.
  explicit WordPiece(const WordPieceSpec& spec);

  /// Appends the tokens of `text` (well-formed UTF-8), whose first code point counts as number `first`. Stops behind
  /// the word with which `out` reaches `enough` tokens.
  void encode(std::string_view text, uint32_t first, size_t enough, Encoding& out) const;

  /// The same from a text that is normalized already.
  void encode_normalized(std::string_view bytes, const uint32_t* origin, size_t enough, Encoding& out) const;

  const BertNormalizer& normalizer() const { return normalizer_; }
  int32_t unk_id() const { return unk_id_; }

 private:
  class Pass;

  /// Appends the pieces of one word of `chars` characters.
  void word(std::string_view bytes, const uint32_t* origin, size_t chars, Encoding& out) const;

  BertNormalizer normalizer_;
  CharTable chars_;
  Trie trie_;
  Trie::Node suffix_root_;
  int32_t unk_id_;
  size_t max_chars_;

  // Of ASCII bytes; all others are `expand`, for Pass::mixed_word().
  std::array<Action, 256> action_;
  std::array<uint16_t, 256> code_;  // what joins the word, as a code of trie_; kStop if nothing does
  std::array<int32_t, 128> id_;     // of an isolated character
};

}  // namespace textmill::text
