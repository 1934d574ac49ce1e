#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/trie.h"

namespace textmill::text {

/// A token found in the text before it is split into words, such as [MASK].
struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool single_word = false;  // not beside a letter, digit or mark
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // and behind it
  bool normalized = false;   // is searched, normalized, in the normalized text; else as it is in the original
};

/// Tokens that are searched in one kind of text: the leftmost, of those the longest.
class AddedTokens {
 public:
  /// `contents` are what is searched, one per token; an empty one is never found.
  AddedTokens(std::vector<AddedToken> tokens, const std::vector<std::string>& contents);

  bool empty() const { return tokens_.empty(); }

  /// A part of the text: a token's (with the white space it takes), or what lies between.
  struct Part {
    size_t begin, end;
    std::optional<int32_t> id;
  };
  /// Calls visit(Part) in order until it returns false. The text is well-formed UTF-8.
  template <class Visit>
  void split(std::string_view text, Visit&& visit) const {
    size_t done = 0, from = 0;
    while (auto found = next(text, from, done)) {
      if (done < found->begin && !visit(Part{done, found->begin, {}})) return;
      if (found->begin < found->end && !visit(Part{found->begin, found->end, found->id})) return;
      done = found->end;
      from = found->searched;
    }
    if (done < text.size()) visit(Part{done, text.size(), {}});
  }

 private:
  struct Found {
    size_t begin, end;
    int32_t id;
    size_t searched;  // where the search goes on
  };
  std::optional<Found> next(std::string_view text, size_t from, size_t done) const;
  size_t candidate(std::string_view text, size_t from) const;

  std::vector<AddedToken> tokens_;
  Trie trie_;  // ids are places in tokens_
  std::array<bool, 256> first_{};
  std::optional<char> only_first_;  // all tokens begin with this byte
};

}  // namespace textmill::text
