#include "train/run.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "format/json.h"
#include "tasks/encoder.h"
#include "tasks/testing.h"
#include "train/checkpoint.h"
#include "train/order.h"

namespace textmill::train {
namespace {

namespace fs = std::filesystem;

struct RunTest : testing::Test {
  RunTest() {
    tasks::testing::write_tiny_model(folder.path(), {.head = false});
    paths.model = folder.path();
    paths.train = data("train.tsv", 40);
    paths.validation = data("validation.tsv", 20);
    paths.output = folder.path() / "output";
  }

  base::Path data(const std::string& name, int rows) {
    std::string text = "label\ttext\n";
    const char* words[] = {"the", "a", "film", "was", "very", "real", "not", "."};
    for (int row = 0; row < rows; row++) {
      bool good = derive(row, 99) % 2;
      text += good ? "good\t" : "poor\t";
      for (uint64_t i = 0; i < derive(row, 0) % 7; i++)
        text += std::string(words[derive(row, i + 1) % 8]) + " ";
      text += good ? "good\n" : "bad\n";
    }
    base::write_file_durably(folder.path() / name, text);
    return folder.path() / name;
  }

  std::string refusal(const TrainOptions& options) {
    try {
      train(paths, options, {});
    } catch (const base::Error& error) { return error.what(); }
    return "";
  }

  format::JsonView record() {
    run_json = format::read_json(paths.output / "run.json");
    return {run_json, "run.json"};
  }
  std::string weights() const { return base::read_file(paths.output / "model.safetensors"); }

  base::TemporaryFolder folder;
  format::Json run_json;
  TrainPaths paths;
  TrainOptions options{.epochs = 3, .batch_size = 4, .learning_rate = 3e-3, .threads = 1};
};

TEST_F(RunTest, leaves_a_model_that_answers_and_a_record_of_the_run) {
  EXPECT_EQ(train(paths, options, {}), Outcome::finished);
  tasks::Encoder encoder(paths.output, {});
  EXPECT_EQ(encoder.folder().labels(), (std::vector<std::string>{"good", "poor"}));
  auto item = encoder.encode("the film was very bad");
  const tasks::PackedItem* items[] = {&item};
  std::vector<float> logits;
  encoder.run(items, logits);
  EXPECT_GT(logits[1], logits[0]);

  auto run = record();
  EXPECT_EQ(run.at("steps").integer(), 30);
  EXPECT_EQ(run.at("epochs").array().size(), 3u);
  EXPECT_GT(run.at("epochs").array()[2].at("validation.accuracy").number(), 0.9);
  EXPECT_EQ(run.at("train.sha256").string().size(), 64u);
  EXPECT_GT(run.at("samples_per_second").number(), 0);
  std::string history = base::read_file(paths.output / "metrics.jsonl");
  EXPECT_EQ(std::count(history.begin(), history.end(), '\n'), 30);
  std::string card = base::read_file(paths.output / "README.md");
  auto kept = run.at("epochs").array()[run.at("best_epoch").integer() - 1];
  for (const std::string& row :
       {fmt::format("| train | train.tsv | 40 | {} |\n", run.at("train.sha256").string()),
        fmt::format("| validation | validation.tsv | 20 | {} |\n", run.at("validation.sha256").string()),
        fmt::format("| {} (kept) | {:.4f} | {:.4f} | ", kept.at("epoch").integer(), kept.at("loss").number(),
                    kept.at("validation.accuracy").number()),
        std::string("| dropout | 0.1 |\n| attention_dropout | 0.1 |\n| head_dropout | 0.1 |\n")}) {
    EXPECT_NE(card.find(row), std::string::npos) << row << card;
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(paths.output / "checkpoints"), {}), 3)
      << "two, and the lock";
}

TEST_F(RunTest, the_checkpoint_before_a_damaged_one_leads_to_the_same_bytes) {
  options.checkpoint_every = 7;
  ASSERT_EQ(train(paths, options, {}), Outcome::finished);
  std::string unbroken = weights(), history = base::read_file(paths.output / "metrics.jsonl");
  fs::remove(paths.output / "model.safetensors");
  std::ofstream(paths.output / "checkpoints/step-000000000030/moments.safetensors") << "damage";
  options.resume = true;
  options.threads = 3;
  ASSERT_EQ(train(paths, options, {}), Outcome::finished);
  EXPECT_EQ(record().at("resumed_at_step").integer(), 28);
  EXPECT_TRUE(weights() == unbroken);
  EXPECT_EQ(base::read_file(paths.output / "metrics.jsonl"), history);
  ASSERT_EQ(train(paths, options, {}), Outcome::finished) << "nothing is left to do";
  EXPECT_EQ(record().at("resumed_at_step").integer(), 28) << "and nothing is changed";
  EXPECT_TRUE(weights() == unbroken);
}

TEST_F(RunTest, accumulation_of_small_batches_is_the_large_batch) {
  options.format = nn::Format::f32;
  auto trained = [&](int batch_size, int accumulation) {
    paths.output = folder.path() / std::to_string(batch_size);
    options.batch_size = batch_size;
    options.gradient_accumulation = accumulation;
    EXPECT_EQ(train(paths, options, {}), Outcome::finished);
    tasks::ModelFolder written(paths.output);
    auto model = written.load();
    for (nn::Weight* weight : nn::fields(*model)) weight->own();
    return model;
  };
  auto large = trained(4, 1);
  for (auto [batch_size, accumulation] : {std::pair(1, 4), {2, 2}}) {
    auto small = trained(batch_size, accumulation);
    auto a = nn::fields(*large), b = nn::fields(*small);
    for (size_t i = 0; i < a.size(); i++) {
      if (a[i]->name.ends_with("key.bias")) continue;  // its gradient is 0: Adam makes steps of its rounding
      auto x = a[i]->own(), y = b[i]->own();
      for (size_t j = 0; j < x.size(); j++) ASSERT_NEAR(x[j], y[j], 1e-4) << a[i]->name;
    }
  }
}

TEST_F(RunTest, a_stop_before_the_first_step_leaves_nothing) {
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(train(paths, options, stop.get_token()), Outcome::stopped);
  EXPECT_FALSE(has_checkpoints(paths.output / "checkpoints"));
  options.resume = true;
  EXPECT_EQ(train(paths, options, {}), Outcome::finished) << "without a checkpoint it starts fresh";
}

TEST_F(RunTest, refuses_a_taken_folder) {
  fs::create_directories(paths.output / "checkpoints");
  {
    base::FileLock other(paths.output / "checkpoints/.lock");
    EXPECT_NE(refusal(options).find(".lock"), std::string::npos);
  }
  options.epochs = 1;
  ASSERT_EQ(train(paths, options, {}), Outcome::finished);
  EXPECT_NE(refusal(options).find("--resume continues it"), std::string::npos);
}

TEST_F(RunTest, refuses_to_resume_another_recipe) {
  ASSERT_EQ(train(paths, options, {}), Outcome::finished);
  options.resume = true;
  options.learning_rate = 1e-3;
  EXPECT_NE(refusal(options).find("state.json: recipe.learning_rate: the run had 0.003, now it is 0.001"),
            std::string::npos)
      << refusal(options);
  options.learning_rate = 3e-3;
  paths.train = data("other.tsv", 41);
  EXPECT_NE(refusal(options).find("recipe.train"), std::string::npos);
}

TEST_F(RunTest, what_the_recipe_no_longer_says_is_another_recipe) {
  options.dropout = 0.25;
  ASSERT_EQ(train(paths, options, {}), Outcome::finished);
  std::string card = base::read_file(paths.output / "README.md");
  EXPECT_NE(card.find("| attention_dropout | 0.25 |\n| head_dropout | 0.25 |\n"), std::string::npos) << card;
  options.resume = true;
  options.dropout.reset();
  EXPECT_NE(refusal(options).find("recipe.dropout: the run had 0.25, now it is none"), std::string::npos)
      << refusal(options);
}

TEST_F(RunTest, names_what_is_wrong_with_the_data) {
  base::write_file_durably(folder.path() / "validation.tsv", "label\ttext\ngood\ta\nugly\ta\n");
  EXPECT_NE(refusal(options).find("validation.tsv:3: label 'ugly' is not one of the training data's 2 ("),
            std::string::npos)
      << refusal(options);
  base::write_file_durably(folder.path() / "train.tsv", "label\ttext\ngood\ta\ngood\tb\n");
  EXPECT_NE(refusal(options).find("all rows have the label good"), std::string::npos) << refusal(options);
  EXPECT_FALSE(fs::exists(paths.output)) << "nothing is left behind";
}

TEST_F(RunTest, rows_of_input_ids_are_what_the_texts_are) {
  ASSERT_EQ(train(paths, options, {}), Outcome::finished);
  std::string from_texts = weights();
  tasks::Encoder encoder(paths.model, {});
  for (base::Path* path : {&paths.train, &paths.validation}) {
    data::DatasetReader reader(*path);
    std::string lines;
    for (data::Example row; reader.next(row);) {
      auto item = encoder.encode(row.text);
      lines += to_text(format::Json::object(
                   {{"input_ids", format::Json::array(item.input_ids)}, {"label", *row.label}})) +
               "\n";
    }
    *path = path->string() + ".jsonl";
    base::write_file_durably(*path, lines);
  }
  fs::remove(paths.model / "vocab.txt");
  paths.output += "-ids";
  ASSERT_EQ(train(paths, options, {}), Outcome::finished);
  EXPECT_TRUE(weights() == from_texts);
  options.max_length = 4;
  EXPECT_NE(refusal(options).find("--resume"), std::string::npos);
  paths.output += "-short";
  EXPECT_NE(refusal(options).find("tokens, at most 4"), std::string::npos) << refusal(options);
}

TEST_F(RunTest, a_classifier_of_the_same_labels_keeps_its_head_and_their_ids) {
  tasks::testing::write_tiny_model(folder.path(), {.labels = {"poor", "good"}});
  options.epochs = 1;
  options.learning_rate = 0;
  ASSERT_EQ(train(paths, options, {}), Outcome::finished);
  tasks::ModelFolder before(paths.model), after(paths.output);
  EXPECT_EQ(after.labels(), (std::vector<std::string>{"poor", "good"}));
  EXPECT_TRUE(std::ranges::equal(before.load()->head.out.weight.own(), after.load()->head.out.weight.own()));
}

}  // namespace
}  // namespace textmill::train
