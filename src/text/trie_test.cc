#include "text/trie.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

namespace textmill::text {
namespace {

/// The naive twin: all prefixes, the longest first.
Trie::Match longest_by_map(const std::map<std::string, int32_t>& keys, const std::string& text,
                           size_t begin) {
  for (size_t end = text.size(); end > begin; --end)
    if (auto found = keys.find(text.substr(begin, end - begin)); found != keys.end())
      return {found->second, end};
  return {Trie::kNoId, begin};
}

TEST(Trie, finds_the_longest_key) {
  Trie trie({{"a", 1}, {"abc", 2}, {"b", 3}});
  EXPECT_EQ(trie.longest(Trie::kRoot, "abcd", 0).id, 2);
  EXPECT_EQ(trie.longest(Trie::kRoot, "abcd", 0).end, 3U);
  EXPECT_EQ(trie.longest(Trie::kRoot, "abd", 0).id, 1);
  EXPECT_EQ(trie.longest(Trie::kRoot, "abd", 0).end, 1U);
  EXPECT_EQ(trie.longest(Trie::kRoot, "cab", 0).id, Trie::kNoId);
  EXPECT_EQ(trie.longest(Trie::kRoot, "cab", 2).id, 3);
  EXPECT_EQ(trie.longest(Trie::kRoot, "", 0).id, Trie::kNoId);
  EXPECT_EQ(trie.longest(trie.walk(Trie::kRoot, "ab"), "c", 0).id, 2);
}

TEST(Trie, walks_to_nowhere) {
  Trie trie({{"ab", 1}});
  EXPECT_EQ(trie.id(trie.walk(Trie::kRoot, "ab")), 1);
  EXPECT_EQ(trie.id(trie.walk(Trie::kRoot, "a")), Trie::kNoId);
  EXPECT_EQ(trie.walk(Trie::kRoot, "abb"), Trie::kNone);
  EXPECT_EQ(trie.walk(Trie::kNone, "a"), Trie::kNone);
  EXPECT_EQ(trie.id(Trie::kNone), Trie::kNoId);
  EXPECT_EQ(trie.child(Trie::kRoot, Trie::kStop), Trie::kNone);
}

TEST(Trie, of_equal_keys_the_last_counts_and_an_empty_one_does_not) {
  Trie trie({{"x", 1}, {"", 9}, {"x", 2}});
  EXPECT_EQ(trie.longest(Trie::kRoot, "xx", 0).id, 2);
  EXPECT_EQ(trie.id(Trie::kRoot), Trie::kNoId);
}

TEST(Trie, empty) {
  Trie trie({});
  for (int byte = 0; byte < 256; ++byte)
    EXPECT_EQ(trie.child(Trie::kRoot, Trie::code(static_cast<unsigned char>(byte))), Trie::kNone);
}

TEST(Trie, equals_a_map_on_random_keys) {
  std::mt19937 random(7);
  for (unsigned letters : {2U, 5U, 256U}) {
    auto word = [&](size_t longest) {
      std::string s(random() % (longest + 1), 0);
      for (char& c : s) c = static_cast<char>(random() % letters);
      return s;
    };
    std::map<std::string, int32_t> keys;
    for (int32_t i = 0; i < 2000; ++i)
      if (std::string key = word(6); !key.empty()) keys[key] = i;
    Trie trie({keys.begin(), keys.end()});
    for (int i = 0; i < 5000; ++i) {
      std::string text = word(12);
      size_t begin = text.empty() ? 0 : random() % text.size();
      auto got = trie.longest(Trie::kRoot, text, begin), want = longest_by_map(keys, text, begin);
      ASSERT_EQ(got.id, want.id);
      ASSERT_EQ(got.end, want.end);
    }
  }
}

}  // namespace
}  // namespace textmill::text
