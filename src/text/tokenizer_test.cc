#include "text/tokenizer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <thread>

#include "base/error.h"
#include "base/files.h"

namespace textmill::text {
namespace {

/// A tokenizer.json with one member replaced: by default BERT's, with the vocabulary below.
std::string file(std::string_view member = "", std::string_view value = "") {
  std::vector<std::pair<std::string_view, std::string_view>> members{
      {"version", R"("1.0")"},
      {"truncation", R"({"max_length": 128, "strategy": "LongestFirst", "stride": 0})"},
      {"padding", R"({"strategy": {"Fixed": 128}})"},
      {"added_tokens",
       R"([{"id": 2, "content": "[CLS]", "special": true}, {"id": 3, "content": "[SEP]", "special": true},
                          {"id": 1, "content": "[UNK]", "special": true}])"},
      {"normalizer", R"({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                         "strip_accents": null, "lowercase": true})"},
      {"pre_tokenizer", R"({"type": "BertPreTokenizer"})"},
      {"post_processor", R"({"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]})"},
      {"decoder", "null"},
      {"model", R"({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                    "max_input_chars_per_word": 100,
                    "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "b": 5, "##c": 6, "E": 7}})"},
  };
  std::string out;
  for (auto [name, text] : members)
    out += fmt::format("{}\"{}\": {}", out.empty() ? "{" : ", ", name, name == member ? value : text);
  return out + "}";
}

std::string ids(const Encoding& encoding) { return fmt::format("{}", fmt::join(encoding.ids, " ")); }
std::string types(const Encoding& encoding) { return fmt::format("{}", fmt::join(encoding.type_ids, " ")); }
std::string offsets(const Encoding& encoding) {
  std::string out;
  for (Offset offset : encoding.offsets)
    out += fmt::format("{}{}-{}", out.empty() ? "" : " ", offset.begin, offset.end);
  return out;
}

std::string refusal(const std::function<void()>& work) {
  try {
    work();
  } catch (const base::Error& error) { return fmt::format("{}: {}", base::name(error.kind()), error.what()); }
  return "nothing refused";
}

TEST(Tokenizer, single_and_pair) {
  Tokenizer tokenizer = Tokenizer::from_json(file());
  Encoding one = tokenizer.encode("A bc");
  EXPECT_EQ(ids(one), "2 4 5 6 3");
  EXPECT_EQ(types(one), "0 0 0 0 0");
  EXPECT_EQ(offsets(one), "0-0 0-1 2-3 3-4 0-0");
  Encoding two = tokenizer.encode("a", "É[SEP] b");
  EXPECT_EQ(ids(two), "2 4 3 1 3 5 3");
  EXPECT_EQ(types(two), "0 0 0 1 1 1 1");
  EXPECT_EQ(offsets(two), "0-0 0-1 0-0 0-1 1-6 7-8 0-0");
  EXPECT_EQ(ids(tokenizer.encode("", "")), "2 3 3");
  EXPECT_EQ(ids(tokenizer.encode("a", "b", {.add_special_tokens = false})), "4 5");
}

TEST(Tokenizer, reuses_an_encoding) {
  Tokenizer tokenizer = Tokenizer::from_json(file());
  Encoding out;
  tokenizer.encode("a a a a", {}, {}, out);
  tokenizer.encode("b", {}, {}, out);
  EXPECT_EQ(ids(out), "2 5 3");
  EXPECT_EQ(types(out), "0 0 0");
}

TEST(Tokenizer, truncates_a_single_text_at_its_end) {
  Tokenizer tokenizer = Tokenizer::from_json(file());
  EXPECT_EQ(tokenizer.file_max_length(), 128U);
  EXPECT_EQ(ids(tokenizer.encode("a bccc a", {}, {.max_length = 5})), "2 4 5 6 3");
  EXPECT_EQ(ids(tokenizer.encode("a b", {}, {.max_length = 2})), "2 3");
  EXPECT_EQ(ids(tokenizer.encode("a [SEP] b", {}, {.max_length = 2, .add_special_tokens = false})), "4 3");
  EXPECT_EQ(ids(tokenizer.encode("a b", {}, {.max_length = 0, .add_special_tokens = false})), "");
  EXPECT_EQ(refusal([&] { tokenizer.encode("a", {}, {.max_length = 1}); }),
            "invalid: a maximum length of 1 has no room for the 2 special tokens");
}

TEST(Tokenizer, of_a_pair_the_longer_text_gives_first_and_keeps_the_odd_one) {
  Tokenizer tokenizer = Tokenizer::from_json(file());
  auto lengths = [&](int first, int second, size_t max_length) {
    std::string a, b;
    for (int i = 0; i < first; ++i) a += "a ";
    for (int i = 0; i < second; ++i) b += "b ";
    Encoding got = tokenizer.encode(a, b, {.max_length = max_length});
    EXPECT_LE(got.size(), max_length);
    return fmt::format("{}+{}", std::ranges::count(got.ids, 4), std::ranges::count(got.ids, 5));
  };
  EXPECT_EQ(lengths(3, 4, 10), "3+4");
  EXPECT_EQ(lengths(2, 9, 10), "2+5");
  EXPECT_EQ(lengths(9, 2, 10), "5+2");
  EXPECT_EQ(lengths(9, 9, 10), "3+4");
  EXPECT_EQ(lengths(10, 9, 10), "4+3");
  EXPECT_EQ(lengths(0, 9, 10), "0+7");
  EXPECT_EQ(lengths(9, 0, 10), "7+0");
  EXPECT_EQ(lengths(9, 9, 3), "0+0");
}

Tokenizer with_truncation(std::string_view direction, std::string_view strategy) {
  return Tokenizer::from_json(file(
      "truncation", fmt::format(R"({{"max_length": 128, "direction": "{}", "strategy": "{}", "stride": 4}})",
                                direction, strategy)));
}

TEST(Tokenizer, truncates_at_the_side_that_its_file_says_unless_told) {
  Tokenizer left = with_truncation("Left", "LongestFirst");
  Encoding got = left.encode("a bccc a", {}, {.max_length = 5});
  EXPECT_EQ(ids(got), "2 6 6 4 3");
  EXPECT_EQ(offsets(got), "0-0 4-5 5-6 7-8 0-0");
  EXPECT_EQ(ids(left.encode("a bccc a", {}, {.max_length = 5, .side = Side::right})), "2 4 5 6 3");
  EXPECT_EQ(ids(left.encode("a b", {}, {.max_length = 4})), "2 4 5 3");
  EXPECT_EQ(ids(left.encode("a b", {}, {.max_length = 2})), "2 3");
  got = left.encode("a b a", "b b b a", {.max_length = 8});
  EXPECT_EQ(ids(got), "2 5 4 3 5 5 4 3");
  EXPECT_EQ(types(got), "0 0 0 0 1 1 1 1");
  EXPECT_EQ(offsets(got), "0-0 2-3 4-5 0-0 2-3 4-5 6-7 0-0");
  EXPECT_EQ(ids(left.encode("a b a", "b b b a", {.max_length = 8, .side = Side::right})), "2 4 5 3 5 5 5 3");
}

TEST(Tokenizer, truncates_only_the_text_that_its_file_says) {
  auto cut = [](std::string_view strategy, std::string_view text, std::optional<std::string_view> pair,
                size_t max_length, std::string_view direction = "Right") {
    return ids(with_truncation(direction, strategy).encode(text, pair, {.max_length = max_length}));
  };
  EXPECT_EQ(cut("OnlyFirst", "a b b", "b a", 7), "2 4 5 3 5 4 3");
  EXPECT_EQ(cut("OnlyFirst", "a b b", "b a", 7, "Left"), "2 5 5 3 5 4 3");
  EXPECT_EQ(cut("OnlyFirst", "a b b", {}, 4), "2 4 5 3");
  EXPECT_EQ(cut("OnlySecond", "b a", "a b b", 7), "2 5 4 3 4 5 3");
  EXPECT_EQ(cut("OnlySecond", "b a", "a b b", 7, "Left"), "2 5 4 3 5 5 3");
  EXPECT_EQ(cut("OnlySecond", "b a", "a", 6), "2 5 4 3 4 3");
  EXPECT_EQ(cut("OnlySecond", "b a", "a", 3), "2 3 3");
  EXPECT_EQ(cut("OnlySecond", "b a", {}, 4), "2 5 4 3");
  EXPECT_EQ(
      refusal([&] { cut("OnlyFirst", "a b b", "b a", 5); }),
      "invalid: the second text has 2 tokens, there is room for 2, and tokenizer.json lets only the first be "
      "cut (truncation.strategy)");
  EXPECT_EQ(
      refusal([&] { cut("OnlySecond", "a b b", {}, 4); }),
      "invalid: the first text has 3 tokens, there is room for 2, and tokenizer.json lets only the second be "
      "cut (truncation.strategy)");
}

TEST(Tokenizer, templates) {
  std::string_view special = R"("special_tokens": {"X": {"id": "X", "ids": [4, 5], "tokens": ["a", "b"]}})";
  auto processor = [&](std::string_view single, std::string_view pair) {
    return fmt::format(R"({{"type": "TemplateProcessing", "single": [{}], "pair": [{}], {}}})", single, pair,
                       special);
  };
  std::string_view a = R"({"Sequence": {"id": "A", "type_id": 0}})",
                   b = R"({"Sequence": {"id": "B", "type_id": 5}})",
                   x = R"({"SpecialToken": {"id": "X", "type_id": 3}})";
  auto join = [](auto... parts) { return fmt::format("{}", fmt::join({std::string_view(parts)...}, ", ")); };
  Tokenizer tokenizer = Tokenizer::from_json(file("post_processor", processor(join(x, a), join(b, x, a))));
  EXPECT_EQ(ids(tokenizer.encode("ac")), "4 5 4 6");
  EXPECT_EQ(types(tokenizer.encode("ac")), "3 3 0 0");
  EXPECT_EQ(ids(tokenizer.encode("a a a", "bc", {.max_length = 5})), "5 4 5 4 4");
  EXPECT_EQ(types(tokenizer.encode("a", "b", {.add_special_tokens = false})), "5 0");
  EXPECT_EQ(ids(Tokenizer::from_json(file("post_processor", "null")).encode("a", "b")), "4 5");
  EXPECT_EQ(types(Tokenizer::from_json(file("post_processor", "null")).encode("a", "b")), "0 1");

  auto refused = [&](const std::string& single, const std::string& pair) {
    return refusal([&] { Tokenizer::from_json(file("post_processor", processor(single, pair))); });
  };
  EXPECT_EQ(
      refused(join(a, a), join(a, b)),
      "invalid: tokenizer.json: post_processor.single: expected the sequence A, once, got an array of 2");
  EXPECT_EQ(refused(join(a), join(a)),
            "invalid: tokenizer.json: post_processor.pair: expected the sequences A and B, once each, got an "
            "array of 1");
  EXPECT_NE(
      refused(R"({"SpecialToken": {"id": "Y"}})", join(a, b)).find("a name of special_tokens, got \"Y\""),
      std::string::npos);
}

TEST(Tokenizer, added_tokens_in_normalized_text) {
  Tokenizer tokenizer = Tokenizer::from_json(file("added_tokens", R"([
      {"id": 8, "content": "Foo É", "normalized": true, "special": false},
      {"id": 9, "content": "X", "normalized": false, "special": false}])"));
  Encoding got = tokenizer.encode("a FOO e\u0301cXX foo");
  EXPECT_EQ(ids(got), "2 4 8 1 9 9 1 3");
  EXPECT_EQ(offsets(got), "0-0 0-1 2-7 8-9 9-10 10-11 12-15 0-0");
  EXPECT_EQ(tokenizer.vocab_size(), 10);
  EXPECT_EQ(tokenizer.token(8), "Foo É");
}

TEST(Tokenizer, tokens_by_id) {
  Tokenizer tokenizer = Tokenizer::from_json(file(
      "model",
      R"({"type": "WordPiece", "unk_token": "u", "vocab": {"u": 0, "[CLS]": 2, "[SEP]": 3, "[UNK]": 5}})"));
  EXPECT_EQ(tokenizer.vocab_size(), 6);
  EXPECT_EQ(tokenizer.token(0), "u");
  EXPECT_EQ(tokenizer.token(1), "");
  EXPECT_EQ(refusal([&] { tokenizer.token(6); }), "invalid: token id 6 is not from 0 to 5");
  EXPECT_EQ(refusal([&] { tokenizer.token(-1); }), "invalid: token id -1 is not from 0 to 5");
}

TEST(Tokenizer, refuses_text_that_is_not_utf8) {
  Tokenizer tokenizer = Tokenizer::from_json(file());
  EXPECT_EQ(refusal([&] { tokenizer.encode("ab\xff"); }), "invalid: the text is not UTF-8 at byte 2");
  EXPECT_EQ(refusal([&] { tokenizer.encode("a", "\xed\xa0\x80"); }),
            "invalid: the text is not UTF-8 at byte 0");
}

TEST(Tokenizer, refuses_files_that_it_cannot_follow) {
  auto refused = [](std::string_view member, std::string_view value) {
    return refusal([&] { Tokenizer::from_json(file(member, value)); });
  };
  EXPECT_EQ(refused("version", R"("2.0")"), R"(invalid: tokenizer.json: version: expected "1.0", got "2.0")");
  EXPECT_EQ(refused("normalizer", R"({"type": "NFC"})"),
            R"(invalid: tokenizer.json: normalizer.type: expected BertNormalizer, got "NFC")");
  EXPECT_EQ(refused("pre_tokenizer", R"({"type": "Whitespace"})"),
            R"(invalid: tokenizer.json: pre_tokenizer.type: expected BertPreTokenizer, got "Whitespace")");
  EXPECT_EQ(refused("pre_tokenizer", "null"), "invalid: tokenizer.json: pre_tokenizer is missing");
  EXPECT_EQ(
      refused("post_processor", R"({"type": "ByteLevel"})"),
      "invalid: tokenizer.json: post_processor.type: expected TemplateProcessing or BertProcessing, got "
      "\"ByteLevel\"");
  EXPECT_EQ(refused("model", R"({"type": "BPE", "vocab": {}, "merges": []})"),
            "invalid: tokenizer.json: model.type: expected WordPiece (no other model is supported yet), got "
            "\"BPE\"");
  EXPECT_EQ(refused("model", R"({"type": "WordPiece", "vocab": {"[UNK]": -1}})"),
            "invalid: tokenizer.json: model.vocab: \"[UNK]\": expected an id from 0 to 16777215");
  EXPECT_EQ(refused("model", R"({"type": "WordPiece", "vocab": {"[UNK]": 1e3}})"),
            "invalid: tokenizer.json: model.vocab: \"[UNK]\": expected an id from 0 to 16777215");
  EXPECT_EQ(refused("model", R"({"type": "WordPiece", "vocab": {"a": 0}})"),
            "invalid: tokenizer.json: model.vocab: the unknown token \"[UNK]\" is not there");
  EXPECT_EQ(refused("model", fmt::format(R"({{"type": "WordPiece", "vocab": {{"{:*>2000}": 0}}}})", "")),
            "invalid: tokenizer.json: model.vocab: a token of 2000 bytes, at most 1024 are supported");
  EXPECT_EQ(refused("truncation", R"({"max_length": 8, "direction": "Up"})"),
            "invalid: tokenizer.json: truncation.direction: expected one of Right, Left, got \"Up\"");
  EXPECT_EQ(
      refused("truncation", R"({"max_length": 8, "strategy": "DoNotTruncate"})"),
      "invalid: tokenizer.json: truncation.strategy: expected one of LongestFirst, OnlyFirst, OnlySecond, "
      "got \"DoNotTruncate\"");
  EXPECT_EQ(refused("added_tokens", R"([{"id": 0}])"),
            "invalid: tokenizer.json: added_tokens[0]: content is missing");
  EXPECT_EQ(refusal([] { Tokenizer::from_json("{"); }).substr(0, 25), "invalid: tokenizer.json:1");
}

class Folder {
 public:
  Folder(std::initializer_list<std::pair<std::string_view, std::string_view>> files) {
    for (auto [name, text] : files) base::write_file_durably(temporary_.path() / name, text);
  }
  const base::Path& path() const { return temporary_.path(); }

 private:
  base::TemporaryFolder temporary_;
};

constexpr std::string_view kVocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\r\ne\n##c  \n\nE";

TEST(Tokenizer, from_vocab_txt) {
  Tokenizer tokenizer = Tokenizer::load(Folder({{"vocab.txt", kVocab}}).path());
  EXPECT_EQ(ids(tokenizer.encode("Ac É[PAD]")), "2 4 6 5 0 3");
  EXPECT_EQ(tokenizer.token(8), "E");
  EXPECT_EQ(tokenizer.file_max_length(), std::nullopt);

  Tokenizer cased =
      Tokenizer::load(Folder({{"vocab.txt", kVocab},
                              {"tokenizer_config.json",
                               R"({"do_lower_case": false, "model_max_length": 512, "cls_token": "a",
                                                 "sep_token": {"content": "[PAD]"}, "mask_token": "[M]",
                                                 "added_tokens_decoder": {"9": {"content": "new", "special": false},
                                                                          "4": {"content": "a", "lstrip": true}}})"}})
                          .path());
  EXPECT_EQ(ids(cased.encode("E  ac newé")), "4 8 4 1 9 1 0");
  EXPECT_EQ(offsets(cased.encode("E  a")), "0-0 0-1 1-4 0-0");
  EXPECT_EQ(cased.file_max_length(), 512U);
  Tokenizer unbounded = Tokenizer::load(
      Folder({{"vocab.txt", kVocab}, {"tokenizer_config.json", R"({"model_max_length": 1e30})"}}).path());
  EXPECT_EQ(unbounded.file_max_length(), std::nullopt);
}

TEST(Tokenizer, the_side_in_tokenizer_config_goes_before_tokenizer_json) {
  auto cut = [](std::string_view name, std::string_view text, std::string_view config) {
    Folder folder({{name, text}, {"tokenizer_config.json", config}});
    return ids(Tokenizer::load(folder.path()).encode("a e", {}, {.max_length = 3}));
  };
  EXPECT_EQ(cut("vocab.txt", kVocab, R"({"truncation_side": "right"})"), "2 4 3");
  EXPECT_EQ(cut("vocab.txt", kVocab, R"({"truncation_side": "left"})"), "2 5 3");
  std::string right = file(), left = file("truncation", R"({"max_length": 8, "direction": "Left"})");
  EXPECT_EQ(cut("tokenizer.json", right, R"({"truncation_side": "left"})"), "2 1 3");
  EXPECT_EQ(cut("tokenizer.json", left, R"({"truncation_side": "right"})"), "2 4 3");
  EXPECT_EQ(cut("tokenizer.json", left, "{}"), "2 1 3");
  EXPECT_EQ(cut("tokenizer.json", file("truncation", "null"), R"({"truncation_side": "left"})"), "2 1 3");
  EXPECT_NE(refusal([&] {
              cut("tokenizer.json", right, R"({"truncation_side": "up"})");
            }).find("tokenizer_config.json: truncation_side: expected one of right, left, got \"up\""),
            std::string::npos);
}

TEST(Tokenizer, a_folder_without_a_tokenizer_that_we_know) {
  Folder empty({}), legacy({{"vocab.txt", kVocab}, {"added_tokens.json", "{}"}}),
      bytes({{"vocab.txt", "a\n\xff"}}), lacking({{"vocab.txt", "[UNK]\n[CLS]\n"}}),
      config({{"vocab.txt", kVocab}, {"tokenizer_config.json", R"(
          {"added_tokens_decoder": {"x": {"content": "y"}}})"}});
  auto refused = [](const Folder& folder) { return refusal([&] { Tokenizer::load(folder.path()); }); };
  EXPECT_EQ(refused(empty),
            "not_found: " + empty.path().string() + ": neither tokenizer.json nor vocab.txt is there");
  EXPECT_NE(refused(legacy).find("added_tokens.json: not supported beside vocab.txt"), std::string::npos);
  EXPECT_NE(refused(bytes).find("vocab.txt: byte 2 is not UTF-8"), std::string::npos);
  EXPECT_NE(refused(lacking).find("vocab.txt: the special token \"[SEP]\" is not there"), std::string::npos);
  EXPECT_NE(refused(config).find("added_tokens_decoder.x: \"x\" is not an id from 0 to 16777215"),
            std::string::npos);
}

TEST(Tokenizer, many_threads_use_one) {
  Tokenizer tokenizer = Tokenizer::from_json(file());
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int n = 0; n < 200; ++n) EXPECT_EQ(ids(tokenizer.encode("a éc [SEP] b")), "2 4 1 3 5 3");
    });
}

}  // namespace
}  // namespace textmill::text
