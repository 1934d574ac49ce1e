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
      {"\" \"", "anything", true},
      {"\" \"", "", true},
      {"\" \" -any", "any thing", false},
      {"\"  \"", "any thing", false},
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
      {"{ $['a'] = x && $[\"a\"] = x && $.['a'] = x && $.[\"a\"] = x }", true},
      {"{ $.o.['b c'][1]['d'] = end }", true},
      {"{ $['*'] NOT EXISTS }", true},
      {"{ $.* = x }", true},
      {"{ $.* = end }", false},
      {"{ $.* > 400 }", false},
      {"{ $.* != x }", true},
      {"{ $.* IS NULL }", true},
      {"{ $.*[0] = 1 }", false},
      {"{ $.*.* = 1 }", false},
      {"{ $.*['b c'][0] = 1 }", true},
      {"{ $.o.*[1].d = end }", true},
      {"{ $.o.*[*].* = end }", true},
      {"{ $.o.*.d = end }", false},
      {"{ $.a.* NOT EXISTS }", true},
      {"{ $.o['b c'].* NOT EXISTS }", true},
      {"{ $.o[*] NOT EXISTS }", true},
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
      {"[ip, user, name, time, request, rest]", true},
      {"[ip, user, name, time, request, rest = \"404 1534\"]", true},
      {"[ip, user, name, time, rest = \"\\\"GET *1534\"]", true},
      {"[ip, user, name, time, request, status = 404]", false},
      {"[ip]", true},
      {"[ip = 127.0.0.1]", false},
      {"[a, b, c, d, e, f, g, h]", false},
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
  constexpr Case kEnds[] = {{"[a, b = c]", "a c \n", true},
                            {"[a, b = \"c d\"]", "a c d \n", true},
                            {"[a, b = \"c d\"]", "a [c d] ", true},
                            {"[a, b = \"\\\"c d\\\" e\"]", "\"a\"\"c d\" e", true},
                            {"[a, b = \"c d\"]", "a \"c d", true},
                            {"[a, b]", "a ", false},
                            {"[]", " ", false}};
  check(kEnds);
}

// What AWS's page FilterAndPatternSyntax shows, with its events.
TEST(LogPattern, ExamplesOfAws) {
  constexpr const char *k400 = "[ERROR 400] BAD REQUEST", *k401 = "[ERROR 401] UNAUTHORIZED REQUEST",
                       *k419 = "[ERROR 419] MISSING ARGUMENTS", *k500 = "[ERROR 500] INTERNAL SERVER ERROR";
  constexpr const char* kTrail =
      R"({"eventType": "UpdateTrail", "sourceIPAddress": "111.111.111.111", "arrayKey": ["value", )"
      R"("another value"], "objectList": [{"name": "a", "id": 1}, {"name": "b", "id": 2}], )"
      R"("SomeObject": null, "cluster.name": "c"})";
  constexpr const char* kUsers =
      R"({"user": {"id": 1, "email": "John.Stiles@example.com"}, "users": [{"id": 2, "email": )"
      R"("John.Doe@example.com"}, {"id": 3, "email": "Jane.Doe@example.com"}], )"
      R"("actions": ["GET", "PUT", "DELETE"], "coordinates": [[0, 1, 2], [4, 5, 6], [7, 8, 9]]})";
  constexpr const char* kApache =
      R"(127.0.0.1 Prod frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534)";
  constexpr const char *kTop = "INFO 09/25/2014 12:00:00 GET /service/resource/67 1200",
                       *kPart = "INFO 09/25/2014 12:00:01 POST /service/resource/67/part/111 1310",
                       *kWarning = "WARNING 09/25/2014 12:00:02 Invalid user request",
                       *kError = "ERROR 09/25/2014 12:00:02 Failed to process request";
  constexpr Case kCases[] = {
      {"%AUTHORIZED%", k401, true},
      {"ERROR", k400, true},
      {"ERROR ARGUMENTS", k419, true},
      {"ERROR ARGUMENTS", k400, false},
      {"?ERROR ?ARGUMENTS", k400, true},
      {"?ERROR ?ARGUMENTS REQUEST", "[INFO] REQUEST FAILED", true},
      {"?ERROR ?ARGUMENTS REQUEST", k419, false},
      {"\"INTERNAL SERVER ERROR\"", k500, true},
      {"ERROR -ARGUMENTS", k401, true},
      {"ERROR -ARGUMENTS", k419, false},
      {"\" \"", "[ERROR]", true},
      {"{ $.eventType = \"UpdateTrail\" }", kTrail, true},
      {"{ $.sourceIPAddress != 123.123.* }", kTrail, true},
      {"{ $.arrayKey[0] = \"value\" }", kTrail, true},
      {"{ $.eventType = %Trail% }", kTrail, true},
      {"{ $.arrayKey[*] = %val.{2}% }", kTrail, true},
      {R"({ $.* = %111\.111\.111\.1[0-9]{1,2}% })", kTrail, true},
      {"{ $.['cluster.name'] = \"c\" }", kTrail, true},
      {"{ $.SomeObject IS NULL }", kTrail, true},
      {"{ $.SomeOtherObject NOT EXISTS }", kTrail, true},
      {"{ $.errorCode = 400}", R"({"errorCode": 400})", true},
      {"{ $.number[0] = 1e+3 }", R"({"number": [1000]})", true},
      {"{ $.number[0] != 1e-3 }", R"({"number": [0.001]})", false},
      {R"({ ($.user.id = 1) && ($.users[0].email = "John.Doe@example.com") })", kUsers, true},
      {R"({ $.user.email = "John.Stiles@example.com" || )"
       R"($.coordinates[0][1] = "nonmatch" && $.actions[2] = "nonmatch" })",
       kUsers, true},
      {R"({ ($.user.email = "John.Stiles@example.com" || )"
       R"($.coordinates[0][1] = "nonmatch") && $.actions[2] = "nonmatch" })",
       kUsers, false},
      {R"({ ($.user.id = 2 && $.users[0].email = "nonmatch") || $.actions[2] = "GET" })", kUsers, false},
      {R"([ip=%127\.0\.0\.[1-9]%, user, username, timestamp, request =*.html*, status_code = 4*, bytes])",
       kApache, true},
      {"[..., request =*.html*, status_code = 4*, bytes]", kApache, true},
      {"[ip, user, username, timestamp, request =*.html*, status_code = 404 || status_code = 410, bytes]",
       kApache, true},
      {"[w1=ERROR, w2]", kError, true},
      {"[w1=ERROR, w2]", kWarning, false},
      {"[w1=ERROR, w2]", "ERROR", false},
      {"[w1=ERROR || w1=WARNING, w2]", kError, true},
      {"[w1=ERROR || w1=WARNING, w2]", kWarning, true},
      {"[w1=ERROR || w1=WARNING, w2]", kTop, false},
      {"[w1!=ERROR && w1!=WARNING, w2]", kTop, true},
      {"[w1!=ERROR && w1!=WARNING, w2]", kError, false},
      {"[logLevel, date, time, method, url=%/service/resource/[0-9]+$%, response_time]", kTop, true},
      {"[logLevel, date, time, method, url=%/service/resource/[0-9]+$%, response_time]", kPart, false},
      {"[logLevel, date, time, method, url=%/service/resource/[0-9]+/part/[0-9]+$%, response_time]", kPart,
       true},
  };
  check(kCases);
}

TEST(LogPattern, LiteralsAreForTheSearch) {
  EXPECT_EQ(LogPattern("a bcd -efghi").literal(), "bcd");
  EXPECT_TRUE(LogPattern("ERROR").is_literal());
  EXPECT_TRUE(LogPattern("\"two words\"").is_literal());
  EXPECT_TRUE(LogPattern("\" \"").is_literal());
  EXPECT_EQ(LogPattern("\" \"").literal(), "");
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
      {"{ $.['a = 1 }", "expected a closing quote"},
      {"{ $.['a\"] = 1 }", "expected a closing quote"},
      {"{ $.['a' = 1 }", "at 10: expected ']'"},
      {"{ $.*a = 1 }", "at 6: expected a comparison"},
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
