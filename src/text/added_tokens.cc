#include "text/added_tokens.h"

#include <algorithm>
#include <cstring>

#include "text/unicode.h"

namespace textmill::text {
namespace {

std::vector<std::pair<std::string_view, int32_t>> keys(const std::vector<std::string>& contents) {
  std::vector<std::pair<std::string_view, int32_t>> keys;
  for (const std::string& content : contents) keys.emplace_back(content, static_cast<int32_t>(keys.size()));
  return keys;
}

char32_t char_before(std::string_view text, size_t at) {
  while ((static_cast<unsigned char>(text[--at]) & 0xc0) == 0x80) {}
  const char* p = text.data() + at;
  return next_char(p);
}

char32_t char_at(std::string_view text, size_t at) {
  const char* p = text.data() + at;
  return next_char(p);
}

size_t char_bytes(char32_t c) {
  char utf8[4];
  return static_cast<size_t>(put_char(c, utf8));
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const std::vector<std::string>& contents)
    : tokens_(std::move(tokens)), trie_(keys(contents)) {
  for (const std::string& content : contents)
    if (!content.empty()) first_[static_cast<unsigned char>(content[0])] = true;
  if (std::ranges::count(first_, true) == 1)
    only_first_ = static_cast<char>(std::ranges::find(first_, true) - first_.begin());
}

/// The next place where a token may begin, else the text's end.
size_t AddedTokens::candidate(std::string_view text, size_t from) const {
  if (only_first_) return std::min(text.find(*only_first_, from), text.size());
  while (from < text.size() && !first_[static_cast<unsigned char>(text[from])]) ++from;
  return from;
}

std::optional<AddedTokens::Found> AddedTokens::next(std::string_view text, size_t from, size_t done) const {
  for (size_t begin = candidate(text, from); begin < text.size(); begin = candidate(text, from)) {
    Trie::Match match = trie_.longest(Trie::kRoot, text, begin);
    if (match.id == Trie::kNoId) {
      from = begin + 1;
      continue;
    }
    from = match.end;
    const AddedToken& token = tokens_[static_cast<size_t>(match.id)];
    size_t end = match.end;
    if (token.single_word && ((begin > 0 && is(Property::word, char_before(text, begin))) ||
                              (end < text.size() && is(Property::word, char_at(text, end)))))
      continue;
    if (token.lstrip) {
      while (begin > 0 && is(Property::space, char_before(text, begin)))
        begin -= char_bytes(char_before(text, begin));
      begin = std::max(begin, done);
    }
    if (token.rstrip)
      while (end < text.size() && is(Property::space, char_at(text, end)))
        end += char_bytes(char_at(text, end));
    return Found{begin, end, token.id, from};
  }
  return std::nullopt;
}

}  // namespace textmill::text
