#include "text/wordpiece.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "base/error.h"

namespace textmill::text {
namespace {

constexpr size_t kAll = SIZE_MAX;

WordPieceSpec spec_of(const std::vector<std::string>& tokens, BertNormalizer normalizer = {}) {
  WordPieceSpec spec;
  for (const std::string& token : tokens)
    spec.vocab.emplace_back(token, static_cast<int32_t>(spec.vocab.size()));
  spec.normalizer = normalizer;
  return spec;
}

using Row = std::tuple<int32_t, uint32_t, uint32_t>;
using Rows = std::vector<Row>;

Rows rows(const Encoding& encoding) {
  Rows out;
  for (size_t i = 0; i < encoding.ids.size(); ++i)
    out.emplace_back(encoding.ids[i], encoding.offsets[i].begin, encoding.offsets[i].end);
  return out;
}

Rows encode(const WordPiece& model, std::string_view text, size_t enough = kAll, uint32_t first = 0) {
  Encoding out;
  model.encode(text, first, enough, out);
  return rows(out);
}

/// The naive twin: normalized as a whole, then split, then for each word all substrings from the longest one on, looked
/// up in a map.
Rows encode_plainly(const WordPieceSpec& spec, std::string_view text) {
  std::map<std::string, int32_t> vocab(spec.vocab.begin(), spec.vocab.end());
  Traced normal = normalize(text, spec.normalizer);
  struct Word {
    size_t begin, end;  // bytes
    size_t chars;
  };
  std::vector<Word> words{{0, 0, 0}};
  for (const char *start = normal.bytes.data(), *at = start; at < start + normal.bytes.size();) {
    auto begin = static_cast<size_t>(at - start);
    char32_t c = next_char(at);
    auto end = static_cast<size_t>(at - start);
    bool alone = is(Property::punctuation, c);
    if (alone || is(Property::space, c)) words.push_back({begin, alone ? end : begin, alone});
    if (alone || is(Property::space, c))
      words.push_back({end, end, 0});
    else
      words.back() = {words.back().begin, end, words.back().chars + 1};
  }
  Rows out;
  for (Word word : words) {
    if (word.chars == 0) continue;
    auto row = [&](int32_t id, size_t begin, size_t end) {
      return Row{id, normal.origin[begin], normal.origin[end - 1] + 1};
    };
    Rows pieces;
    bool known = word.chars <= spec.max_input_chars_per_word;
    for (size_t begin = word.begin, end; known && begin < word.end; begin = end) {
      for (end = word.end; end > begin; --end) {
        std::string piece = normal.bytes.substr(begin, end - begin);
        if (begin > word.begin) piece = spec.continuing_subword_prefix + piece;
        if (auto found = vocab.find(piece); found != vocab.end()) {
          pieces.push_back(row(found->second, begin, end));
          break;
        }
      }
      known = end > begin;
    }
    if (!known) pieces = {row(vocab.at(spec.unk_token), word.begin, word.end)};
    out.insert(out.end(), pieces.begin(), pieces.end());
  }
  return out;
}

TEST(WordPiece, longest_match_first) {
  WordPiece model(spec_of({"[UNK]", "un", "##aff", "##able", "##a", "unaff", "!"}));
  EXPECT_EQ(encode(model, "unaffable"), (Rows{{5, 0, 5}, {3, 5, 9}}));
  EXPECT_EQ(encode(model, " UNaffa!  un\n"), (Rows{{5, 1, 6}, {4, 6, 7}, {6, 7, 8}, {1, 10, 12}}));
  EXPECT_EQ(encode(model, "unaffx un"), (Rows{{0, 0, 6}, {1, 7, 9}}));
  EXPECT_EQ(encode(model, "?x"), (Rows{{0, 0, 1}, {0, 1, 2}}));
  EXPECT_EQ(encode(model, ""), Rows{});
  EXPECT_EQ(encode(model, " \t"), Rows{});
}

TEST(WordPiece, offsets_are_code_points_from_first) {
  WordPiece model(spec_of({"[UNK]", "e", "##a", "龍", "strasse"}));
  EXPECT_EQ(encode(model, "É龍\u200be\u0301a", kAll, 10),
            (Rows{{1, 10, 11}, {3, 11, 12}, {1, 13, 14}, {2, 15, 16}}));
}

TEST(WordPiece, a_word_that_is_too_long_is_unknown) {
  WordPieceSpec spec = spec_of({"[UNK]", "a", "##a", "é", "##é"});
  spec.max_input_chars_per_word = 3;
  spec.normalizer.strip_accents = false;
  WordPiece model(spec);
  EXPECT_EQ(encode(model, "aaa aaaa a"), (Rows{{1, 0, 1}, {2, 1, 2}, {2, 2, 3}, {0, 4, 8}, {1, 9, 10}}));
  EXPECT_EQ(encode(model, "ééé éééé a"), (Rows{{3, 0, 1}, {4, 1, 2}, {4, 2, 3}, {0, 4, 8}, {1, 9, 10}}));
}

TEST(WordPiece, stops_behind_the_word_that_is_enough) {
  WordPiece model(spec_of({"[UNK]", "a", "##b", "##c", "d", "é"}, {.strip_accents = false}));
  EXPECT_EQ(encode(model, "abc d d", 2), (Rows{{1, 0, 1}, {2, 1, 2}, {3, 2, 3}}));
  EXPECT_EQ(encode(model, "é,é,é", 2), (Rows{{5, 0, 1}, {0, 1, 2}}));
  EXPECT_EQ(encode(model, "a", 0), Rows{});
}

TEST(WordPiece, needs_its_unknown_token) { EXPECT_THROW(WordPiece(spec_of({"a"})), base::Error); }

BertNormalizer steps(unsigned bits) {
  return {(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0};
}

/// A text of characters that normalization treats in all its ways, and of letters that the vocabulary has.
std::string random_text(std::mt19937& random, const std::vector<char32_t>& special) {
  std::string text;
  for (size_t n = random() % 12; n > 0; --n) {
    char32_t c = random() % 3 ? U"abAB eE.\té"[random() % 10] : special[random() % special.size()];
    if (random() % 16 == 0) c = random() % 0xd800;
    char utf8[4];
    text.append(utf8, static_cast<size_t>(put_char(c, utf8)));
  }
  return text;
}

std::vector<char32_t> special_chars() {
  std::vector<char32_t> chars = mapped_chars();
  for (Property property :
       {Property::removed, Property::space, Property::punctuation, Property::mark, Property::ideograph})
    for (Range range : ranges(property))
      for (uint32_t c : {range.first + 0, range.last + 0, range.first - 1, range.last + 1})
        if (c < 0x110000 && (c < 0xd800 || c > 0xdfff)) chars.push_back(c);
  for (uint32_t c : {0xac00, 0xac01, 0xd7a3, 0xd7a4}) chars.push_back(c);
  return chars;
}

TEST(WordPiece, each_special_character_is_as_its_definition_says) {
  std::vector<char32_t> special = special_chars();
  for (unsigned bits = 0; bits < 16; ++bits) {
    WordPieceSpec spec = spec_of({"[UNK]", "a", "##a"}, steps(bits));
    WordPiece model(spec);
    for (char32_t c : special) {
      char utf8[4];
      std::string text(utf8, static_cast<size_t>(put_char(c, utf8)));
      text = "a" + text + "a";
      ASSERT_EQ(encode(model, text), encode_plainly(spec, text))
          << std::hex << uint32_t{c} << " steps " << bits;
    }
  }
}

TEST(WordPiece, equals_the_naive_twin_on_random_texts) {
  std::mt19937 random(11);
  std::vector<char32_t> special = special_chars();
  for (unsigned round = 0; round < 64; ++round) {
    std::vector<std::string> tokens{"[UNK]", "a", "b",   "##a", "##ab", "e",
                                    "##e",   "é", "##é", ".",   "aba",  "##B"};
    for (int i = 0; i < 300; ++i) {
      std::string token = random_text(random, special);
      tokens.push_back(random() % 2 ? token : "##" + token);
    }
    std::ranges::sort(tokens);
    tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
    WordPieceSpec spec = spec_of(tokens, steps(round % 16));
    spec.max_input_chars_per_word = round % 3 ? 100 : 1 + random() % 6;
    if (round % 5 == 0) spec.continuing_subword_prefix = "";
    WordPiece model(spec);
    for (int i = 0; i < 600; ++i) {
      std::string text = random_text(random, special);
      Rows want = encode_plainly(spec, text);
      ASSERT_EQ(encode(model, text), want) << text;
      Traced normal = normalize(text, spec.normalizer);
      Encoding out;
      model.encode_normalized(normal.bytes, normal.origin.data(), kAll, out);
      ASSERT_EQ(rows(out), want) << text;
    }
  }
}

}  // namespace
}  // namespace textmill::text
