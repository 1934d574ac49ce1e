#include "base/utf8.h"

#include <cstdint>
#include <cstring>

namespace textmill::base {
namespace {

struct Sequence {
  size_t length;  // bytes looked at and accepted so far; at least 1
  bool valid;
};

/// The sequence at the front of `text` (not empty); if ill-formed, its maximal part that begins a well-formed
/// one. Unicode 15, table 3-7: only the second byte has a range other than 80..BF.
Sequence front_sequence(std::string_view text) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned char lead = byte(0);
  if (lead < 0x80) return {1, true};
  if (lead < 0xc2 || lead > 0xf4) return {1, false};
  size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  for (size_t i = 1; i < length; ++i, low = 0x80, high = 0xbf) {
    if (i == text.size() || byte(i) < low || byte(i) > high) return {i, false};
  }
  return {length, true};
}

size_t ascii_prefix(std::string_view text) {
  size_t i = 0;
  for (uint64_t word; i + 8 <= text.size(); i += 8) {
    std::memcpy(&word, text.data() + i, 8);
    if (word & 0x8080808080808080u) break;
  }
  while (i < text.size() && static_cast<unsigned char>(text[i]) < 0x80) ++i;
  return i;
}

}  // namespace

std::optional<size_t> invalid_utf8(std::string_view text) {
  size_t at = 0;
  while ((at += ascii_prefix(text.substr(at))) < text.size()) {
    // Text that is not ASCII here is likely not ASCII next: no eight-byte test between its characters.
    while (at < text.size() && static_cast<unsigned char>(text[at]) >= 0x80) {
      Sequence s = front_sequence(text.substr(at));
      if (!s.valid) return at;
      at += s.length;
    }
  }
  return std::nullopt;
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    size_t good = invalid_utf8(text).value_or(text.size());
    out += text.substr(0, good);
    text.remove_prefix(good);
    if (text.empty()) break;
    out += "\xEF\xBF\xBD";
    text.remove_prefix(front_sequence(text).length);
  }
  return out;
}

std::string utf8_beginning(std::string_view text, size_t bytes) {
  if (text.size() <= bytes) return std::string(text);
  while (bytes > 0 && (text[bytes] & 0xC0) == 0x80) --bytes;
  return std::string(text.substr(0, bytes));
}

}  // namespace textmill::base
