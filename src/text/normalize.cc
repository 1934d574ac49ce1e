#include "text/normalize.h"

#include <algorithm>

namespace textmill::text {
namespace {

struct Char {
  char32_t c;
  uint32_t origin;
};
using Chars = std::vector<Char>;

Chars clean_text(const Chars& in) {
  Chars out;
  for (Char x : in)
    if (!is(Property::removed, x.c)) out.push_back({is(Property::space, x.c) ? U' ' : x.c, x.origin});
  return out;
}

Chars space_ideographs(const Chars& in) {
  Chars out;
  for (Char x : in) {
    bool ideograph = is(Property::ideograph, x.c);
    if (ideograph) out.push_back({U' ', x.origin});
    out.push_back(x);
    if (ideograph) out.push_back({U' ', x.origin});
  }
  return out;
}

/// NFD. The reference traces by position: after the reordering, the n-th character that began a decomposition stands
/// for the n-th character of the input, whichever that was, and those that did not stand for the same as their
/// predecessor.
Chars decompose_all(const Chars& in) {
  struct Part {
    char32_t c;
    bool begins;
  };
  std::vector<Part> parts;
  size_t run = 0;  // where the current run of non-starters began
  auto sort_run = [&] {
    std::stable_sort(parts.begin() + static_cast<ptrdiff_t>(run), parts.end(),
                     [](Part a, Part b) { return combining_class(a.c) < combining_class(b.c); });
    run = parts.size();
  };
  for (Char x : in) {
    bool begins = true;
    for (char32_t c : decompose(x.c)) {
      if (combining_class(c) == 0) sort_run();
      parts.push_back({c, begins});
      begins = false;
    }
  }
  sort_run();
  Chars out;
  size_t next = 0;
  for (Part part : parts) {
    next += part.begins;
    out.push_back({part.c, in[next - 1].origin});
  }
  return out;
}

Chars lowercase_all(const Chars& in) {
  Chars out;
  for (Char x : in)
    for (char32_t c : lowercase(x.c)) out.push_back({c, x.origin});
  return out;
}

Action split_action(char32_t c) {
  return is(Property::space, c)         ? Action::space
         : is(Property::punctuation, c) ? Action::isolate
                                        : Action::keep;
}

}  // namespace

void Traced::push(char32_t c, uint32_t from) {
  char utf8[4];
  int length = put_char(c, utf8);
  bytes.append(utf8, static_cast<size_t>(length));
  origin.insert(origin.end(), static_cast<size_t>(length), from);
}

void Traced::clear() {
  bytes.clear();
  origin.clear();
}

Traced normalize(std::string_view text, const BertNormalizer& steps, uint32_t first) {
  Chars chars;
  for (const char *at = text.data(), *end = at + text.size(); at < end; ++first)
    chars.push_back({next_char(at), first});
  if (steps.clean_text) chars = clean_text(chars);
  if (steps.handle_chinese_chars) chars = space_ideographs(chars);
  if (steps.strip_accents) {
    chars = decompose_all(chars);
    std::erase_if(chars, [](Char x) { return is(Property::mark, x.c); });
  }
  if (steps.lowercase) chars = lowercase_all(chars);
  Traced out;
  for (Char x : chars) out.push(x.c, x.origin);
  return out;
}

CharTable::CharTable(const BertNormalizer& steps) : starts_(0x110000 / kPage, 0) {
  for (uint32_t i = 0; i < kShared; ++i) pages_.push_back({static_cast<Action>(i / kPage)});
  if (steps.strip_accents) fill(kHangul, Action::hangul);
  if (steps.handle_chinese_chars)
    for (Range range : ranges(Property::ideograph)) fill(range, Action::isolate);
  if (steps.clean_text)
    for (Range range : ranges(Property::removed)) fill(range, Action::remove);
  for (Property property : {Property::space, Property::punctuation, Property::mark})
    for (Range range : ranges(property))
      for (char32_t c = range.first; c <= range.last; ++c) set(c, entry_for(c, steps));
  for (char32_t c : mapped_chars()) set(c, entry_for(c, steps));
}

CharTable::Entry CharTable::entry_for(char32_t c, const BertNormalizer& steps) {
  if (steps.clean_text && is(Property::removed, c)) return {Action::remove};
  if (is(Property::space, c)) return {Action::space};
  bool ideograph = steps.handle_chinese_chars && is(Property::ideograph, c);
  auto begin = static_cast<uint32_t>(items_.size());
  for (char32_t part : steps.strip_accents ? decompose(c) : Expansion{{c}, 1}) {
    bool remove = steps.strip_accents && is(Property::mark, part);
    uint8_t combining = steps.strip_accents ? combining_class(part) : 0;
    for (char32_t x : steps.lowercase ? lowercase(part) : Expansion{{part}, 1}) {
      Action action = remove ? Action::remove : ideograph ? Action::isolate : split_action(x);
      items_.push_back({x, action, combining, false});
    }
  }
  items_.back().last = true;
  Item only = items_.back();
  if (items_.size() > begin + 1 || only.combining_class != 0 || only.action == Action::remove)
    return {Action::expand, begin};
  if (only.c != c && only.action != Action::keep) return {Action::expand, begin};
  items_.pop_back();
  return only.c == c ? Entry{only.action} : Entry{Action::map, only.c};
}

void CharTable::fill(Range range, Action action) {
  for (char32_t c = range.first; c <= range.last;) {
    if ((c & kPageMask) == 0 && c + kPageMask <= range.last) {
      starts_[c >> kPageBits] = static_cast<uint32_t>(action) * kPage;
      c += kPage;
    } else {
      set(c++, {action});
    }
  }
}

void CharTable::set(char32_t c, Entry entry) {
  uint32_t& start = starts_[c >> kPageBits];
  if (start < kShared) {
    auto own = static_cast<uint32_t>(pages_.size());
    for (uint32_t i = 0; i < kPage; ++i) pages_.push_back(Entry(pages_[start + i]));
    start = own;
  }
  pages_[start + (c & kPageMask)] = entry;
}

}  // namespace textmill::text
