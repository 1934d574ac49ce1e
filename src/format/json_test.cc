#include "format/json.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace textmill::format {
namespace {

std::string message_of(auto&& action) {
  try {
    action();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::Kind::invalid) << error.what();
    return error.what();
  }
  return "(nothing thrown)";
}

Json parse(std::string_view text) { return parse_json(text, "t"); }

TEST(Json, round_trips_and_keeps_order) {
  for (std::string text :
       {"null", "true", "-0.0", "12", "-9223372036854775808", "\"\"", "[]", "{}", "[1,[2,{}]]",
        R"({"z":1,"a":[true,null,"x\ny\"\\\t\u0001é"],"":2.5})", "1e+300", "5e-324", "2.0"}) {
    EXPECT_EQ(to_text(parse(text)), text);
    EXPECT_EQ(parse(to_pretty_text(parse(text))), parse(text));
  }
  EXPECT_EQ(to_pretty_text(parse(R"({"a":[1,2],"b":{},"c":[]})")),
            "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": {},\n  \"c\": []\n}\n");
}

TEST(Json, numbers_are_exact) {
  EXPECT_EQ(*parse("9223372036854775807").integer(), INT64_MAX);
  EXPECT_EQ(*parse("18446744073709551615").real(), 18446744073709551615.0);
  EXPECT_EQ(*parse("123456789012345678901234567890").real(), 123456789012345678901234567890.0);
  for (const char* text : {"5e-05", "1e-12", "0.1", "1.7976931348623157e308", "2.2250738585072014e-308",
                           "8.41e21", "9007199254740993.0", "0.30000000000000004", "6.62607015e-34"}) {
    EXPECT_EQ(*parse(text).real(), std::strtod(text, nullptr)) << text;
    EXPECT_EQ(*parse(std::string("[") + text + " ]").array()->at(0).real(), std::strtod(text, nullptr))
        << text;
  }
  EXPECT_EQ(*parse("[1e-400]").array()->at(0).real(), 0);
  EXPECT_EQ(to_text(std::nan("")), "null");
}

TEST(Json, strings) {
  EXPECT_EQ(*parse(R"("\ud83d\ude00\u00e9\/\b\f")").string(), "😀é/\b\f");
  std::string large(100000, 'x');
  EXPECT_EQ(*parse("\"" + large + "\"").string(), large);
  EXPECT_EQ(parse("\xEF\xBB\xBF[]"), Json(Json::Array{}));
}

TEST(Json, refuses_what_is_not_json_and_says_where) {
  EXPECT_EQ(message_of([] { parse("{\n  \"a\": 1,\n  \"b\" 2}"); }), "t:3:7: syntax error");
  EXPECT_EQ(message_of([] { parse_json("[1,\n]", "f", {.line = 10}); }), "f:11:1: syntax error");
  EXPECT_EQ(message_of([] { parse("[1] x"); }), "t:1:5: extra data");
  EXPECT_EQ(message_of([] { parse(R"({"x": 1, "y": {}, "x": 2})"); }), "t:1:25: the object has \"x\" twice");
  for (const char* text :
       {"",      " ",        "{",       "[1",       "\"a",         "tru",     "01",    "1.",
        ".5",    "+1",       "NaN",     "Infinity", "'a'",         "[1,]",    "1e400", "{\"a\":1,}",
        "{a:1}", "\"\x01\"", "\"\\x\"", "\"\xff\"", "\"\\ud800\"", "// c\n1", "1 2"}) {
    EXPECT_NE(message_of([&] { parse(text); }), "(nothing thrown)") << text;
  }
}

TEST(Json, depth_is_bounded) {
  auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_EQ(to_text(parse(nested(64))), nested(64));
  EXPECT_NE(message_of([&] { parse(nested(65)); }), "(nothing thrown)");
  EXPECT_NE(message_of([&] { parse(std::string(10000000, '[')); }), "(nothing thrown)");
}

TEST(Json, built_values) {
  Json value = Json::object({{"label", "a"}, {"score", 0.5}, {"ids", Json::array(std::vector{1, 2})}});
  value.set("score", 1);
  value.set("more", nullptr);
  EXPECT_EQ(to_text(value), R"({"label":"a","score":1,"ids":[1,2],"more":null})");
  EXPECT_EQ(*value.find("label")->string(), "a");
  EXPECT_EQ(value.find("none"), nullptr);
  EXPECT_EQ(Json(3).find("x"), nullptr);
}

TEST(JsonView, getters) {
  Json json =
      parse(R"({"model": {"type": "bert", "sizes": [1, 2], "null": null}, "p": 0.1, "n": 3, "on": true})");
  JsonView in(json, "config.json");
  EXPECT_EQ(in.at("model.type").string(), "bert");
  EXPECT_EQ(in.at("model.sizes").integers(1, 2), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(in.at("n").number(), 3);
  EXPECT_EQ(in.get_number("p", 0), 0.1);
  EXPECT_EQ(in.get_number("model.null", 7), 7);
  EXPECT_EQ(in.get_string("model.none", "x"), "x");
  EXPECT_EQ(in.get_integer("n", 0, 1, 3), 3);
  EXPECT_TRUE(in.get_boolean("on", false));
  EXPECT_EQ(in.find("none.deeper"), std::nullopt);
  EXPECT_EQ(in.at("model").object().size(), 3u);
  in.refuse_unknown({"model", "p", "n", "on", "other"});
}

TEST(JsonView, names_may_hold_dots) {
  Json json = parse_json(R"({"a.b": 1, "a": {"b": 2, "c.d": 3}})", "t");
  JsonView view(json, "t");
  EXPECT_EQ(view.at("a.b").integer(), 1);
  EXPECT_EQ(view.at("a.c.d").integer(), 3);
}

TEST(JsonView, errors_name_file_path_expectation_and_value) {
  Json json = parse(R"({"a": {"n": "x", "big": 70000, "list": [1, "2", 3.5], "o": {}}, "long": ")" +
                    std::string(100, 'x') + R"("})");
  JsonView in(json, "config.json");
  EXPECT_EQ(message_of([&] { in.at("a.n").integer(); }), "config.json: a.n: expected an integer, got \"x\"");
  EXPECT_EQ(message_of([&] { in.at("a.big").integer(1, 65536); }),
            "config.json: a.big: expected an integer from 1 to 65536, got 70000");
  EXPECT_EQ(message_of([&] { in.at("a.list").integers(0, 9); }),
            "config.json: a.list[1]: expected an integer from 0 to 9, got \"2\"");
  EXPECT_EQ(message_of([&] { in.at("a.list").array()[2].integer(0); }),
            "config.json: a.list[2]: expected an integer of at least 0, got 3.5");
  EXPECT_EQ(message_of([&] { in.at("a.list").strings(); }),
            "config.json: a.list[0]: expected a string, got 1");
  EXPECT_EQ(message_of([&] { in.at("a").string(); }), "config.json: a: expected a string, got an object");
  EXPECT_EQ(message_of([&] { in.at("a.list").boolean(); }),
            "config.json: a.list: expected true or false, got an array of 3");
  EXPECT_EQ(message_of([&] { in.at("a.n.deeper"); }), "config.json: a.n: expected an object, got \"x\"");
  EXPECT_EQ(message_of([&] { in.at("a").at("none"); }), "config.json: a: none is missing");
  EXPECT_EQ(message_of([&] { in.at("long").number(); }),
            "config.json: long: expected a number, got \"" + std::string(59, 'x') + "...");
  EXPECT_EQ(message_of([&] {
              in.at("a").refuse_unknown({"n", "big"});
            }),
            "config.json: a: unknown member \"list\", expected one of n, big");
}

}  // namespace
}  // namespace textmill::format
