#include "text/added_tokens.h"

#include <gtest/gtest.h>

namespace textmill::text {
namespace {

/// "ab[0:2] 7[2:8]": text between tokens and ids, with their bytes.
std::string parts(const std::vector<AddedToken>& tokens, std::string_view text) {
  std::vector<std::string> contents;
  for (const AddedToken& token : tokens) contents.push_back(token.content);
  std::string out;
  AddedTokens(tokens, contents).split(text, [&](const AddedTokens::Part& part) {
    std::string what =
        part.id ? std::to_string(*part.id) : std::string(text.substr(part.begin, part.end - part.begin));
    out += (out.empty() ? "" : " ") + what + "[" + std::to_string(part.begin) + ":" +
           std::to_string(part.end) + "]";
    return true;
  });
  return out;
}

AddedToken token(std::string content, int32_t id) { return {std::move(content), id}; }

TEST(AddedTokens, split_the_text) {
  std::vector<AddedToken> tokens{token("[M]", 7), token("[MASK]", 8)};
  EXPECT_EQ(parts(tokens, "ab[M]c"), "ab[0:2] 7[2:5] c[5:6]");
  EXPECT_EQ(parts(tokens, "[M][M]"), "7[0:3] 7[3:6]");
  EXPECT_EQ(parts(tokens, "[[MASK"), "[[MASK[0:6]");
  EXPECT_EQ(parts(tokens, ""), "");
  EXPECT_EQ(parts({}, "text"), "text[0:4]");
}

TEST(AddedTokens, the_leftmost_then_the_longest) {
  std::vector<AddedToken> tokens{token("b", 1), token("bcd", 2), token("abc", 3)};
  EXPECT_EQ(parts(tokens, "xabcd"), "x[0:1] 3[1:4] d[4:5]");
  EXPECT_EQ(parts(tokens, "bcdbc"), "2[0:3] 1[3:4] c[4:5]");
}

TEST(AddedTokens, single_words_stand_apart) {
  std::vector<AddedToken> tokens{{.content = "été", .id = 1, .single_word = true}};
  EXPECT_EQ(parts(tokens, "été"), "1[0:5]");
  EXPECT_EQ(parts(tokens, "l'été."), "l'[0:2] 1[2:7] .[7:8]");
  EXPECT_EQ(parts(tokens, "étés"), "étés[0:6]");
  EXPECT_EQ(parts(tokens, "éété"), "éété[0:7]");
}

TEST(AddedTokens, take_white_space_beside_them) {
  std::vector<AddedToken> left{{.content = "M", .id = 1, .lstrip = true}},
      right{{.content = "M", .id = 1, .rstrip = true}};
  EXPECT_EQ(parts(left, "a \u3000M b"), "a[0:1] 1[1:6]  b[6:8]");
  EXPECT_EQ(parts(right, "a M \u3000b"), "a [0:2] 1[2:7] b[7:8]");
  EXPECT_EQ(parts({{.content = "M", .id = 1, .lstrip = true, .rstrip = true}}, "M M"), "1[0:2] 1[2:3]");
}

TEST(AddedTokens, white_space_that_was_taken_is_found_again) {  // as the reference does
  EXPECT_EQ(parts({{.content = " ", .id = 1, .rstrip = true}}, "a  b"), "a[0:1] 1[1:3] 1[2:3] b[3:4]");
}

TEST(AddedTokens, an_empty_one_is_never_found) { EXPECT_EQ(parts({token("", 1)}, "ab"), "ab[0:2]"); }

TEST(AddedTokens, a_visitor_can_stop) {
  int seen = 0;
  AddedTokens({token("x", 1)}, {"x"}).split("axbxc", [&](const AddedTokens::Part&) { return ++seen < 2; });
  EXPECT_EQ(seen, 2);
}

}  // namespace
}  // namespace textmill::text
