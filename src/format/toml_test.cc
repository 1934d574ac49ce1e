#include "format/toml.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace textmill::format {
namespace {

std::string message_of(std::string_view text) {
  try {
    parse_toml(text, "f.toml");
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::Kind::invalid);
    return error.what();
  }
  return "(nothing thrown)";
}

TEST(Toml, flat_values_with_their_lines) {
  auto values = parse_toml(
      "log-level = \"debug\" # why\n\n[serve]\nmax-queue = 1_000\nrate = 5e-05\non = true\n"
      "[serve.deep]\nx = 'a\"b'\n",
      "f.toml");
  ASSERT_EQ(values.size(), 5u);
  EXPECT_EQ(values["log-level"].text, "debug");
  EXPECT_EQ(values["serve.max-queue"].text, "1000");
  EXPECT_EQ(values["serve.max-queue"].where, "f.toml:4");
  EXPECT_EQ(values["serve.rate"].text, "5e-05");
  EXPECT_EQ(values["serve.on"].text, "true");
  EXPECT_EQ(values["serve.deep.x"].text, "a\"b");
  EXPECT_TRUE(parse_toml("", "f").empty());
  EXPECT_EQ(parse_toml("\xEF\xBB\xBF"
                       "a = \"\\\"é\" # é\nb = \"\"\"é\n\"\\\"\"\"\"\nc = 'é\\' # é",
                       "f")
                .at("b")
                .text,
            "é\n\"\"");
}

TEST(Toml, errors_name_file_and_line) {
  EXPECT_EQ(message_of("a = 1\nb = [1, 2]\n"), "f.toml:2: b: expected a string, a number, true or false");
  EXPECT_EQ(message_of("[x]\nday = 2024-01-01\n"),
            "f.toml:2: x.day: expected a string, a number, true or false");
  EXPECT_TRUE(message_of("a = 1\nb = \n").starts_with("f.toml:2: ")) << message_of("a = 1\nb = \n");
  EXPECT_TRUE(message_of("a = 1\na = 2\n").starts_with("f.toml:2: ")) << message_of("a = 1\na = 2\n");
  EXPECT_TRUE(message_of("a = \"\xff\"").starts_with("f.toml:1: ")) << message_of("a = \"\xff\"");
  EXPECT_EQ(message_of("# @é\nx = 'é'\nb = é"),
            "f.toml:3: Error while parsing value: could not determine value type");
  EXPECT_EQ(message_of("é = [1]").substr(0, 10), "f.toml:1: ");
  EXPECT_EQ(message_of("'é@' = [1]"), "f.toml:1: é@: expected a string, a number, true or false");
  EXPECT_NE(message_of(std::string(100000, '[')), "(nothing thrown)");
  EXPECT_THROW(read_toml("/no/such/file.toml"), base::Error);
}

}  // namespace
}  // namespace textmill::format
