#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "offline/evaluate.h"
#include "offline/predict.h"
#include "tasks/testing.h"

namespace textmill::offline {
namespace {

struct OfflineTest : testing::Test {
  OfflineTest() { tasks::testing::write_tiny_model(model.path()); }

  base::Path data(const std::string& name, const std::string& text) {
    base::write_file_durably(folder.path() / name, text);
    return folder.path() / name;
  }

  std::vector<std::string> predictions(PredictOptions options) {
    options.model = model.path();
    std::vector<std::string> lines;
    predict(options, {}, [&](const std::string& line) { lines.push_back(line); });
    return lines;
  }

  base::TemporaryFolder model, folder;
};

TEST_F(OfflineTest, evaluation_agrees_with_prediction) {
  std::string rows = "label\ttext\n";
  const char* texts[] = {"the film was good", "very bad", "not real", "a"};
  for (int i = 0; i < 150; i++) rows += (i % 3 ? "yes\t" : "no\t") + std::string(texts[i % 4]) + "\n";
  auto file = data("rows.tsv", rows);
  auto lines = predictions({.data = file});
  ASSERT_EQ(lines.size(), 150u);
  int right = 0;
  for (int i = 0; i < 150; i++) right += lines[i].find(i % 3 ? "\"yes\"" : "\"no\"") != std::string::npos;
  auto scores = evaluate({.model = model.path(), .data = file}, {});
  format::JsonView view(scores, "scores");
  EXPECT_EQ(view.at("count").integer(), 150);
  EXPECT_DOUBLE_EQ(view.at("accuracy").number(), right / 150.0);
  EXPECT_EQ(view.at("positive").string(), "yes");
  EXPECT_EQ(lines[1], predictions({.text = "very bad"})[0]) << "a batch gives what one row gives";
  EXPECT_NE(lines[1], predictions({.text = "very bad", .pair = "a"})[0]);
}

TEST_F(OfflineTest, rows_of_input_ids_have_the_maximum_length_that_texts_have) {
  auto file = data("ids.jsonl", R"({"input_ids": [2, 5, 7, 3], "label": "no"})"
                                "\n"
                                R"({"input_ids": [2, 5, 7, 9, 3], "label": "yes"})"
                                "\n");
  EXPECT_EQ(predictions({.data = file, .encoder = {.max_length = 5}}).size(), 2u);
  auto refused = [&](auto ask) {
    try {
      ask();
    } catch (const base::Error& error) { return std::string(error.what()); }
    return std::string();
  };
  const std::string said = file.string() + ":2: input_ids: 5 tokens, at most 4";
  EXPECT_EQ(refused([&] { predictions({.data = file, .encoder = {.max_length = 4}}); }), said);
  EXPECT_EQ(
      refused([&] { evaluate({.model = model.path(), .data = file, .encoder = {.max_length = 4}}, {}); }),
      said);
}

TEST_F(OfflineTest, the_positive_label_can_be_chosen) {
  auto file = data("rows.tsv", "label\ttext\nyes\ta\nno\tgood film\n");
  auto scores = evaluate({.model = model.path(), .data = file, .positive = "no"}, {});
  EXPECT_EQ(*scores.find("positive")->string(), "no");
  EXPECT_THROW(evaluate({.model = model.path(), .data = file, .positive = "maybe"}, {}), base::Error);
}

TEST_F(OfflineTest, a_label_that_the_model_lacks_is_named_with_its_line) {
  auto file = data("rows.tsv", "label\ttext\nyes\ta\nyess\tgood film\n");
  try {
    evaluate({.model = model.path(), .data = file}, {});
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::Kind::invalid);
    EXPECT_NE(std::string(error.what())
                  .find("rows.tsv:3: label 'yess' is not one of the model's 2 (no, yes); did you mean yes?"),
              std::string::npos)
        << error.what();
  }
}

TEST_F(OfflineTest, stops_when_asked) {
  auto file = data("rows.tsv", "label\ttext\nyes\ta\nno\tgood film\n");
  std::stop_source stop;
  stop.request_stop();
  EXPECT_THROW(evaluate({.model = model.path(), .data = file}, stop.get_token()), base::Error);
}

}  // namespace
}  // namespace textmill::offline
