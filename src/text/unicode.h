#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace textmill::text {

// Character properties as the `tokenizers` package has them, which are those of several versions of Unicode
// (docs/decisions/unicode.md).

enum class Property {
  removed,      // by clean_text: controls, formats, private use, U+FFFD; not tab, line feed, carriage return
  space,        // White_Space
  punctuation,  // P*, and all of ASCII that is neither letter, digit, space nor control
  mark,         // Mn: what stripping accents removes
  word,         // \w of regular expressions
  ideograph,    // the blocks that BERT splits into single characters
};
struct Range {
  char32_t first, last;
};
/// Sorted, apart.
std::span<const Range> ranges(Property property);
bool is(Property property, char32_t c);

/// The canonical combining class; 0 for a starter.
uint8_t combining_class(char32_t c);

/// One character as several; `size` is at least 1.
struct Expansion {
  char32_t chars[4];
  uint32_t size;
  const char32_t* begin() const { return chars; }
  const char32_t* end() const { return chars + size; }
};
/// The full canonical decomposition; {c} if it has none.
Expansion decompose(char32_t c);
/// Without context: each sigma becomes the same. {c} if it has none.
Expansion lowercase(char32_t c);

/// The characters, sorted, that decompose (but Hangul's syllables), have a lower case, or are no starters.
std::vector<char32_t> mapped_chars();

/// Hangul's syllables decompose by a formula.
constexpr Range kHangul{0xac00, 0xd7a3};

/// The character at `at` of well-formed UTF-8, and `at` moved behind it.
inline char32_t next_char(const char*& at) {
  auto byte = [&] { return static_cast<unsigned char>(*at++); };
  char32_t c = byte();
  if (c < 0x80) return c;
  int more = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
  c &= 0x3fU >> more;
  while (more--) c = c << 6 | (byte() & 0x3fU);
  return c;
}

/// Writes the character to `out`, and returns how many bytes: 1..4.
inline int put_char(char32_t c, char out[4]) {
  if (c < 0x80) {
    out[0] = static_cast<char>(c);
    return 1;
  }
  int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  for (int i = more; i > 0; --i, c >>= 6) out[i] = static_cast<char>(0x80 | (c & 0x3f));
  out[0] = static_cast<char>((0xf0U << (3 - more)) | c);
  return more + 1;
}

}  // namespace textmill::text
