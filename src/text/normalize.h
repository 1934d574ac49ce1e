#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/unicode.h"

namespace textmill::text {

/// BERT's normalization: which steps, in this order.
struct BertNormalizer {
  bool clean_text = true;            // removes control characters, makes each white space a blank
  bool handle_chinese_chars = true;  // blanks around each ideograph
  bool strip_accents = true;         // decomposes canonically (NFD), then removes Mn
  bool lowercase = true;             // without context
};

/// UTF-8, and for each of its bytes the code point (its index in the original text) that it stands for.
struct Traced {
  std::string bytes;
  std::vector<uint32_t> origin;

  void push(char32_t c, uint32_t from);
  void clear();
};

/// The definition, step by step over the whole text, whose first code point counts as number `first`.
Traced normalize(std::string_view text, const BertNormalizer& steps, uint32_t first = 0);

/// What a character does to the word that is being read, all steps and the split into words taken together.
enum class Action : uint8_t {
  keep,     // it joins the word
  remove,   // it leaves no trace
  space,    // the word ends
  isolate,  // the word ends; it is a word of its own
  map,      // another character joins the word
  hangul,   // its letters join the word
  expand,   // several characters act; see items()
};

/// The same as normalize(), one table entry per character: the fast path. Where characters can change places (several
/// combining ones in a row), the reader has to reorder them; their entries are `expand`.
class CharTable {
 public:
  explicit CharTable(const BertNormalizer& steps);

  struct Entry {
    Action action : 8;
    uint32_t value : 24;  // of map: the character; of expand: where its items begin
  };
  Entry operator[](char32_t c) const { return pages_[starts_[c >> kPageBits] + (c & kPageMask)]; }

  struct Item {
    char32_t c;
    Action action;  // keep, remove, space or isolate
    uint8_t combining_class;
    bool last;  // of this expansion
  };
  const Item* items(Entry entry) const { return &items_[entry.value]; }

 private:
  static constexpr int kPageBits = 8;
  static constexpr uint32_t kPage = 1U << kPageBits, kPageMask = kPage - 1;
  static constexpr uint32_t kShared =
      7 * kPage;  // the first pages are filled with one action each, and not written

  Entry entry_for(char32_t c, const BertNormalizer& steps);
  void fill(Range range, Action action);
  void set(char32_t c, Entry entry);

  std::vector<uint32_t> starts_;  // of each page, in pages_
  std::vector<Entry> pages_;
  std::vector<Item> items_;
};

}  // namespace textmill::text
