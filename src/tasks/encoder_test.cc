#include "tasks/encoder.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "base/error.h"
#include "tasks/testing.h"

namespace textmill::tasks {
namespace {

struct EncoderTest : ::testing::Test {
  EncoderTest() { testing::write_tiny_model(folder.path(), {.labels = {"a", "b", "c"}}); }

  static std::string refusal(auto&& action) {
    try {
      action();
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), base::Kind::invalid);
      return error.what();
    }
    return "";
  }

  static std::vector<float> run(Encoder& encoder, const std::vector<PackedItem>& items) {
    std::vector<const PackedItem*> pointers;
    for (const PackedItem& item : items) pointers.push_back(&item);
    std::vector<float> logits;
    encoder.run(pointers, logits);
    return logits;
  }

  base::TemporaryFolder folder;
};

using Ids = std::vector<int64_t>;

TEST_F(EncoderTest, text_becomes_ids_with_the_special_tokens) {
  Encoder encoder(folder.path(), {.max_length = 6});
  PackedItem one = encoder.encode("The FILM was good");
  EXPECT_EQ(one.input_ids, (std::vector<int32_t>{2, 5, 7, 8, 9, 3}));
  EXPECT_EQ(one.type_ids, std::vector<int32_t>(6));
  PackedItem pair = encoder.encode("good", "bad");
  EXPECT_EQ(pair.input_ids, (std::vector<int32_t>{2, 9, 3, 10, 3}));
  EXPECT_EQ(pair.type_ids, (std::vector<int32_t>{0, 0, 0, 1, 1}));
  EXPECT_EQ(encoder.encode("a a a a a a a a a").input_ids.size(), 6u) << "truncated";
}

TEST_F(EncoderTest, a_model_without_room_for_a_text_is_refused_when_it_is_opened) {
  auto file = folder.path() / "sentence_bert_config.json";
  base::write_file_durably(file, R"({"max_seq_length": 2})");
  EXPECT_EQ(refusal([&] { Encoder(folder.path(), {}); }),
            folder.path().string() +
                ": 2 tokens at most (sentence_bert_config.json): no room for a text beside 2 special ones");
  base::write_file_durably(file, R"({"max_seq_length": 3})");
  EXPECT_EQ(Encoder(folder.path(), {}).encode("very good").input_ids.size(), 3u);
}

TEST_F(EncoderTest, what_is_too_long_is_cut_or_refused) {
  Encoder encoder(folder.path(), {.max_length = 4});
  EXPECT_EQ(encoder.encode("the film was good", {}, {.too_long = TooLong::cut_begin}).input_ids,
            (std::vector<int32_t>{2, 8, 9, 3}));
  EXPECT_EQ(encoder.encode("was good", {}, {.too_long = TooLong::refuse}).input_ids.size(), 4u);
  EXPECT_EQ(refusal([&] { encoder.encode("the film was good", {}, {.too_long = TooLong::refuse}); }),
            "6 tokens, at most 4");
  EXPECT_NE(
      refusal([&] { encoder.encode("the film", "was good", {.too_long = TooLong::cut_begin}); }).find("pair"),
      std::string::npos);
}

TEST_F(EncoderTest, a_bare_encoder_embeds) {
  testing::write_tiny_model(folder.path(), {.head = false});
  Encoder encoder(folder.path(), {{.format = nn::Format::f32}});
  EXPECT_TRUE(encoder.embeds());
  EXPECT_EQ(encoder.width(), 32);
  auto rows = run(encoder, {encoder.encode("good"), encoder.encode("the film")});
  ASSERT_EQ(rows.size(), 64u);
  auto unit = embedding_of(std::span(rows).first(32), true);
  EXPECT_NEAR(std::inner_product(unit.begin(), unit.end(), unit.begin(), 0.0), 1, 1e-6);
  EXPECT_EQ(embedding_of(std::vector<float>{0, 0}, true), (std::vector<float>{0, 0}))
      << "nothing has no direction";
}

TEST_F(EncoderTest, a_batch_gives_what_each_gives_alone) {
  for (nn::Format format : {nn::Format::f32, nn::Format::bf16}) {
    Encoder one(folder.path(), {{.format = format, .threads = 1}}),
        other(folder.path(), {{.format = format, .threads = 3}});
    std::vector<PackedItem> items;
    for (const char* text :
         {"a", "the film was very bad", "not good .", "really", "a a a a a a a a a a a a a a a"}) {
      items.push_back(one.encode(text));
    }
    auto together = run(one, items), on_threads = run(other, items);
    ASSERT_EQ(together.size(), items.size() * 3);
    EXPECT_EQ(std::memcmp(together.data(), on_threads.data(), together.size() * sizeof(float)), 0);
    for (size_t i = 0; i < items.size(); i++) {
      auto alone = run(one, {items[i]});
      EXPECT_EQ(std::memcmp(alone.data(), &together[i * 3], sizeof(float) * 3), 0) << i;
    }
  }
}

TEST_F(EncoderTest, padding_is_taken_off_at_the_door) {
  Encoder encoder(folder.path(), {});
  Ids ids{2, 9, 3, 10, 3, 0, 0}, mask{1, 1, 1, 1, 1, 0, 0}, types{0, 0, 0, 1, 1, 0, 0};
  PackedItem item = encoder.unpad({ids, mask, types});
  EXPECT_EQ(item.input_ids, (std::vector<int32_t>{2, 9, 3, 10, 3}));
  EXPECT_EQ(item.type_ids, (std::vector<int32_t>{0, 0, 0, 1, 1}));
  EXPECT_EQ(encoder.unpad({ids, {}, {}}).input_ids.size(), 7u);
  EXPECT_EQ(run(encoder, {item}), run(encoder, {encoder.encode("good", "bad")}));
}

TEST_F(EncoderTest, refuses_numbers_that_are_no_sequence) {
  Encoder encoder(folder.path(), {});
  auto said = [&](const Ids& ids, const Ids& mask = {}, const Ids& types = {}) {
    return refusal([&] { encoder.unpad({ids, mask, types}); });
  };
  EXPECT_EQ(said({2, 16}), "input_ids[1] is 16, expected 0 to 15");
  EXPECT_EQ(said({2, -1}), "input_ids[1] is -1, expected 0 to 15");
  EXPECT_EQ(said({2, 3}, {1}), "attention_mask has 1 numbers, input_ids 2");
  EXPECT_EQ(said({2, 3, 3}, {1, 0, 1}),
            "attention_mask[2] is 1, expected ones and then zeros (padding on the right)");
  EXPECT_EQ(said({2, 3}, {1, 5}),
            "attention_mask[1] is 5, expected ones and then zeros (padding on the right)");
  EXPECT_EQ(said({2, 3}, {0, 0}), "input_ids: expected at least one token that is not padding");
  EXPECT_EQ(said({}), "input_ids: expected at least one token that is not padding");
  EXPECT_EQ(said({2, 3}, {}, {0, 2}), "token_type_ids[1] is 2, expected 0 to 1");
  EXPECT_EQ(said(Ids(25, 5)), "input_ids: 25 tokens, at most 24");
  EXPECT_EQ(said({2, 99}, {1, 0}), "") << "padding may be anything";
  Encoder shorter(folder.path(), {.max_length = 4});
  EXPECT_EQ(refusal([&] { shorter.unpad({Ids(5, 5), {}, {}}); }), "input_ids: 5 tokens, at most 4");
  EXPECT_EQ(refusal([&] { shorter.unpad({Ids(5, 5), Ids{1, 1, 1, 1, 0}, {}}); }), "") << "of which 4 count";
}

TEST_F(EncoderTest, the_configuration_says_what_makes_scores) {
  auto function = [&] { return Encoder(folder.path(), {}).folder().score_function(); };
  EXPECT_EQ(function(), ScoreFunction::softmax);
  testing::write_tiny_model(
      folder.path(), {.labels = {"a", "b"}, .extra = R"("problem_type": "multi_label_classification", )"});
  EXPECT_EQ(function(), ScoreFunction::sigmoid);
  testing::write_tiny_model(folder.path(), {.labels = {"a"}});
  EXPECT_EQ(function(), ScoreFunction::sigmoid);
  testing::write_tiny_model(folder.path(), {.labels = {"a"}, .extra = R"("problem_type": "regression", )"});
  EXPECT_EQ(function(), ScoreFunction::none);
}

TEST_F(EncoderTest, families_without_a_tokenizer_take_ids_only) {
  testing::write_tiny_model(folder.path(), {.model_type = "roberta"});
  Encoder encoder(folder.path(), {});
  EXPECT_NE(refusal([&] { encoder.encode("a"); }).find("give input_ids"), std::string::npos);
  Ids ids{2, 5, 3};
  EXPECT_EQ(run(encoder, {encoder.unpad({ids, {}, {}})}).size(), 2u);
}

}  // namespace
}  // namespace textmill::tasks
