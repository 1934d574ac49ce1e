#include "text/unicode.h"

#include <gtest/gtest.h>

#include <numeric>
#include <string>

namespace textmill::text {
namespace {

std::u32string decomposed(char32_t c) {
  Expansion to = decompose(c);
  return {to.begin(), to.end()};
}
std::u32string lowered(char32_t c) {
  Expansion to = lowercase(c);
  return {to.begin(), to.end()};
}

TEST(Unicode, decomposes_fully) {
  EXPECT_EQ(decomposed('a'), U"a");
  EXPECT_EQ(decomposed(U'é'), U"e\u0301");
  EXPECT_EQ(decomposed(0x1f82), U"\u03b1\u0313\u0300\u0345");  // in three steps
  EXPECT_EQ(decomposed(0x212b), U"A\u030a");                   // the Angstrom sign, by way of U+00C5
  EXPECT_EQ(decomposed(0x11938), U"\U00011938");  // Unicode 13, younger than the reference's data
}

TEST(Unicode, decomposes_hangul) {
  EXPECT_EQ(decomposed(0xac00), U"\u1100\u1161");
  EXPECT_EQ(decomposed(0xac01), U"\u1100\u1161\u11a8");
  EXPECT_EQ(decomposed(0xd7a3), U"\u1112\u1175\u11c2");
  EXPECT_EQ(decomposed(0xd7a4), U"\ud7a4");
}

TEST(Unicode, lowercases_without_context) {
  EXPECT_EQ(lowered('Q'), U"q");
  EXPECT_EQ(lowered(U'Σ'), U"σ");
  EXPECT_EQ(lowered(0x130), U"i\u0307");
  EXPECT_EQ(lowered(0x100), U"\u0101");
  EXPECT_EQ(lowered(0x101), U"\u0101");   // within a run of step 2
  EXPECT_EQ(lowered(0xa7ce), U"\ua7cf");  // Unicode 17
  EXPECT_EQ(lowered(0x10ffff), U"\U0010ffff");
}

TEST(Unicode, properties) {
  EXPECT_TRUE(is(Property::removed, 0) && is(Property::removed, 0x200b) && is(Property::removed, 0xfffd));
  EXPECT_FALSE(is(Property::removed, '\t') ||
               is(Property::removed, 0x8e2));  // a format character since Unicode 9
  EXPECT_TRUE(is(Property::space, 0x3000) && is(Property::space, '\n'));
  EXPECT_FALSE(is(Property::space, 0x200b));
  EXPECT_TRUE(is(Property::punctuation, '$') && is(Property::punctuation, U'¿') &&
              is(Property::punctuation, U'。'));
  EXPECT_FALSE(is(Property::punctuation, U'€') || is(Property::punctuation, 'a'));
  EXPECT_TRUE(is(Property::mark, 0x301));
  EXPECT_FALSE(is(Property::mark, 0x1b44));  // Mc
  EXPECT_TRUE(is(Property::ideograph, U'龍'));
  EXPECT_FALSE(is(Property::ideograph, U'カ') ||
               is(Property::ideograph, 0x2b820));  // the gap is the reference's
  EXPECT_TRUE(is(Property::word, '_') && is(Property::word, U'é'));
  EXPECT_FALSE(is(Property::word, '-'));
  EXPECT_EQ(combining_class(0x301), 230);
  EXPECT_EQ(combining_class(0x334), 1);
  EXPECT_EQ(combining_class('a'), 0);
}

TEST(Unicode, tables_are_sorted_and_apart) {
  for (Property property : {Property::removed, Property::space, Property::punctuation, Property::mark,
                            Property::word, Property::ideograph}) {
    char32_t next = 0;
    for (Range range : ranges(property)) {
      ASSERT_LE(next, range.first);
      ASSERT_LE(range.first, range.last);
      next = range.last + 1;
    }
  }
}

TEST(Unicode, utf8_round_trip) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c == 0xd800) c = 0xe000;
    char utf8[4];
    int length = put_char(c, utf8);
    const char* at = utf8;
    ASSERT_EQ(next_char(at), c);
    ASSERT_EQ(at, utf8 + length);
  }
}

}  // namespace
}  // namespace textmill::text
