#include "text/unicode.h"

#include <algorithm>

namespace textmill::text {
namespace {

struct ClassRange {
  char32_t first, last;
  uint8_t value;
};
struct CaseRange {
  char32_t first, last;
  uint32_t step;
  int32_t difference;
};
struct Decomposition {
  char32_t first;
  char32_t to[4];  // ends at the first 0
};

#include "text/unicode_data.inc"

constexpr Range kIdeograph[] = {
    {0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xf900, 0xfaff},   {0x20000, 0x2a6df},
    {0x2a700, 0x2b73f}, {0x2b740, 0x2b81f}, {0x2b920, 0x2ceaf}, {0x2f800, 0x2fa1f},
};
constexpr char32_t kCapitalIWithDot = 0x130;

/// The last row that begins at or before `c`; nothing if none does.
template <class Row, size_t N>
const Row* row_before(const Row (&rows)[N], char32_t c) {
  auto after = std::ranges::upper_bound(rows, c, {}, &Row::first);
  return after == std::begin(rows) ? nullptr : after - 1;
}

Expansion hangul(char32_t c) {
  constexpr char32_t kLead = 0x1100, kVowel = 0x1161, kTail = 0x11a7, kVowels = 21, kTails = 28;
  char32_t i = c - kHangul.first, tail = i % kTails;
  return {{kLead + i / (kVowels * kTails), kVowel + i / kTails % kVowels, kTail + tail}, tail ? 3U : 2U};
}

}  // namespace

std::span<const Range> ranges(Property property) {
  switch (property) {
    case Property::removed: return kRemoved;
    case Property::space: return kSpace;
    case Property::punctuation: return kPunctuation;
    case Property::mark: return kMark;
    case Property::word: return kWord;
    case Property::ideograph: return kIdeograph;
  }
  return {};
}

bool is(Property property, char32_t c) {
  auto rows = ranges(property);
  auto after = std::ranges::upper_bound(rows, c, {}, &Range::first);
  return after != rows.begin() && c <= (after - 1)->last;
}

uint8_t combining_class(char32_t c) {
  const ClassRange* row = row_before(kCombiningClass, c);
  return row && c <= row->last ? row->value : 0;
}

Expansion decompose(char32_t c) {
  if (c >= kHangul.first && c <= kHangul.last) return hangul(c);
  const Decomposition* row = row_before(kDecomposition, c);
  if (!row || row->first != c) return {{c}, 1};
  Expansion to{{}, 0};
  for (; to.size < 4 && row->to[to.size]; ++to.size) to.chars[to.size] = row->to[to.size];
  return to;
}

Expansion lowercase(char32_t c) {
  if (c == kCapitalIWithDot) return {{'i', 0x307}, 2};
  const CaseRange* row = row_before(kLowercase, c);
  if (!row || c > row->last || (c - row->first) % row->step != 0) return {{c}, 1};
  return {{c + static_cast<char32_t>(row->difference)}, 1};
}

std::vector<char32_t> mapped_chars() {
  std::vector<char32_t> found{kCapitalIWithDot};
  for (const auto& row : kDecomposition) found.push_back(row.first);
  for (const auto& row : kLowercase)
    for (char32_t c = row.first; c <= row.last; c += row.step) found.push_back(c);
  for (const auto& row : kCombiningClass)
    for (char32_t c = row.first; c <= row.last; ++c) found.push_back(c);
  std::ranges::sort(found);
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

}  // namespace textmill::text
