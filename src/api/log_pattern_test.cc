#include "api/log_pattern.h"

#include <gtest/gtest.h>

#include <span>

#include "base/error.h"

namespace textmill::api {
namespace {

struct Case {
  const char *pattern, *message;
  bool matches;
};

void check(std::span<const Case> cases) {
  for (const auto& [pattern, message, matches] : cases) {
    LogPattern parsed(pattern);
    EXPECT_EQ(parsed.matches(message), matches) << pattern << " over " << message;
    EXPECT_TRUE(!matches || std::string(message).find(parsed.literal()) != std::string::npos) << pattern;
  }
}

TEST(LogPattern, Terms) {
  constexpr Case kCases[] = {
      {"", "anything", true},
      {"ERROR", "an ERROR here", true},
      {"ERROR", "an error here", false},
      {"ERROR", "ERRORS", true},
      {"ERROR disk", "disk ERROR", true},
      {"ERROR disk", "ERROR", false},
      {"ERROR\tdisk", "disk ERROR", true},
      {"\"disk full\"", "the disk full of it", true},
      {"\"disk full\"", "disk is full", false},
      {R"("say \"hi\" \\")", R"(say "hi" \)", true},
      {"-DEBUG", "INFO x", true},
      {"-DEBUG", "DEBUG x", false},
      {"ERROR -\"out of\"", "ERROR out of disk", false},
      {"ERROR -\"out of\"", "ERROR in disk", true},
      {"?ERROR ?WARN", "WARN", true},
      {"?ERROR ?WARN", "ERROR", true},
      {"?ERROR ?WARN", "INFO", false},
      {"?ERROR ?WARN -disk", "WARN disk", false},
      {"INFO ?ERROR", "INFO", true},
      {"Grüße", "viele Grüße", true},
      {"%[45]\\d\\d%", "status 503", true},
      {"%[45]\\d\\d%", "status 203", false},
      {"status %^[a-z]% -%9$%", "status 1", true},
      {"status %^[a-z]% -%9$%", "status 9", false},
  };
  check(kCases);
}

TEST(LogPattern, Json) {
  constexpr const char* kMessage =
      R"({"a": "x", "n": 5, "r": 2.5, "t": true, "z": null, "o": {"b c": [1, {"d": "end"}]}, "e": "400"})";
  struct {
    const char* pattern;
    bool matches;
  } cases[] = {
      {"{ $.a = \"x\" }", true},
      {"{$.a=x}", true},
      {"{ $.a = \"y\" }", false},
      {"{ $.a != \"y\" }", true},
      {"{ $.a != \"x\" }", false},
      {"{ $.none != \"x\" }", false},
      {"{ $.a = * }", true},
      {"{ $.e = 4* }", true},
      {"{ $.e = 400 }", true},
      {"{ $.e > 399 }", true},
      {"{ $.a > 1 }", false},
      {"{ $.n = 5 }", true},
      {"{ $.n = 5.0 }", true},
      {"{ $.n >= 5 && $.r < 3 }", true},
      {"{ $.n > 5 || $.r <= 2.5 }", true},
      {"{ $.n > 5 || $.r < 2.5 && $.t IS TRUE }", false},
      {"{ ($.n > 5 || $.r <= 2.5) && $.t IS FALSE }", false},
      {"{ $.t IS TRUE }", true},
      {"{ $.z IS NULL }", true},
      {"{ $.a IS NULL }", false},
      {"{ $.none NOT EXISTS }", true},
      {"{ $.z NOT EXISTS }", false},
      {"{ $.o[\"b c\"][0] = 1 }", true},
      {"{ $.o[\"b c\"][1].d = en* }", true},
      {"{ $.o[\"b c\"][*].d = end }", true},
      {"{ $.o[\"b c\"][2] NOT EXISTS }", true},
      {"{ $.a = %^[x-z]$% }", true},
  };
  for (const auto& [pattern, matches] : cases)
    EXPECT_EQ(LogPattern(pattern).matches(kMessage), matches) << pattern;
  constexpr Case kOthers[] = {
      {"{ $.a = 1 }", "no JSON", false}, {"{ $.a = 1 }", "{\"a\": 1", false}, {"{ $[0] = 1 }", " [1]", true}};
  check(kOthers);
}

TEST(LogPattern, Columns) {
  constexpr const char* kLine =
      R"(127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /a.gif HTTP/1.0" 404 1534)";
  struct {
    const char* pattern;
    bool matches;
  } cases[] = {
      {"[ip, user, name, time, request, status, bytes]", true},
      {"[ip, user, name, time, request, status]", false},
      {"[ip, user, name, time, request, status = 4*, bytes > 1000]", true},
      {"[ip, user, name, time, request, status = 5*, bytes > 1000]", false},
      {"[..., status = 404 || status = 410, bytes]", true},
      {"[..., status > 399 && status < 404, bytes]", false},
      {"[ip = %^127\\.%, ..., bytes]", true},
      {"[ip, ..., request = \"*gif*\", s, b]", true},
      {"[ip, user, name, time = 10/Oct/2000*, ...]", true},
      {"[a, b, c, d, e, f, g, ...]", true},
      {"[a, b, c, d, e, f, g, h, ...]", false},
      {"[,,,,,,bytes != 1534]", false},
  };
  for (const auto& [pattern, matches] : cases)
    EXPECT_EQ(LogPattern(pattern).matches(kLine), matches) << pattern;
}

TEST(LogPattern, LiteralsAreForTheSearch) {
  EXPECT_EQ(LogPattern("a bcd -efghi").literal(), "bcd");
  EXPECT_TRUE(LogPattern("ERROR").is_literal());
  EXPECT_TRUE(LogPattern("\"two words\"").is_literal());
  EXPECT_TRUE(LogPattern("").is_literal());
  for (const char* other : {"a b", "?a", "-a", "%a%", "{ $.a = 1 }", "[a, b]"})
    EXPECT_FALSE(LogPattern(other).is_literal()) << other;
}

TEST(LogPattern, WhatIsNotUnderstoodIsSaid) {
  struct {
    const char *pattern, *says;
  } cases[] = {
      {"error:", "at 6: expected a word"},
      {"\"open", "at 7: expected a closing quote"},
      {"%a(%", "expected a regular expression"},
      {"%a", "expected a closing %"},
      {"-", "at 2: expected a word"},
      {"{ $.a }", "at 7: expected a comparison"},
      {"{ $.a = 1", "at 10: expected '}'"},
      {"{ $.a < x }", "expected a number"},
      {"{ $.a = }", "expected a value"},
      {"{ a = 1 }", "at 3: expected '$'"},
      {"{ $.a[x] = 1 }", "expected an index"},
      {"{ $.a = 1 } x", "expected the end"},
      {"[a, b", "at 6: expected ']'"},
      {"[..., ...]", "one ... only"},
      {"[a = 1 || b = 2]", "the same name"},
      {"[a IS NULL]", "expected = !="},
  };
  for (const auto& [pattern, says] : cases) {
    try {
      LogPattern parsed(pattern);
      ADD_FAILURE() << pattern << " was accepted";
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), base::Kind::invalid);
      EXPECT_NE(std::string(error.what()).find(says), std::string::npos) << pattern << ": " << error.what();
    }
  }
  EXPECT_THROW(LogPattern("{" + std::string(500, '(') + "$.a = 1"), base::Error);
  for (const char* no_word : {"my-service", "a\"b\"", "x.y", "a?b"})
    EXPECT_THROW(LogPattern{no_word}, base::Error);
  EXPECT_TRUE(LogPattern("{ $.a = 2 }").matches(R"({"a": 1, "a": 2})")) << "of twins the last counts";
}

}  // namespace
}  // namespace textmill::api
