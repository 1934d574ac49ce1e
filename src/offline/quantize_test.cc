#include "offline/quantize.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "base/error.h"
#include "offline/evaluate.h"
#include "offline/predict.h"
#include "offline/trials.h"
#include "tasks/quantizable.h"
#include "tasks/testing.h"

namespace textmill::offline {
namespace {

using format::JsonView;

struct QuantizeTest : testing::Test {
  QuantizeTest() {
    tasks::testing::write_tiny_model(model.path());
    const char* words[] = {"the", "film", "was", "good", "bad", "very", "really", "not"};
    std::string rows = "label\ttext\n";
    for (int i = 0; i < 200; i++) {
      rows += i % 3 ? "yes\t" : "no\t";
      for (int j = 0, bits = i * 37; j < 7; j++, bits /= 2) rows += std::string(words[(bits + j) % 8]) + " ";
      rows += "\n";
    }
    base::write_file_durably(folder.path() / "rows.tsv", rows);
    options = {.model = model.path(), .data = folder.path() / "rows.tsv", .output = folder.path() / "out"};
    options.encoder.engine.threads = 1;
  }

  base::TemporaryFolder model, folder;
  QuantizeOptions options;
};

TEST_F(QuantizeTest, a_model_in_8_bits_is_evaluated_as_the_search_said) {
  options.max_loss = 0.2;
  auto result = quantize(options, {});
  JsonView view(result, "result");
  EXPECT_TRUE(view.at("met").boolean());
  ASSERT_EQ(view.at("trials").array().size(), 2u);
  JsonView trial = view.at("trials").array()[1];
  EXPECT_TRUE(trial.at("chosen").boolean());
  EXPECT_TRUE(trial.at("in_floating_point").array().empty());
  EXPECT_EQ(view.at("layers").array().size(), 12u);
  EXPECT_LT(trial.at("bytes").number(), 0.5 * view.at("trials").array()[0].at("bytes").number());

  tasks::ModelFolder written(options.output);
  EXPECT_EQ(written.quantization().scheme, "w8a8-dynamic");
  auto weights = written.load();
  EXPECT_EQ(weights->body.layers[0].query.weight.dtype(), nn::Dtype::i8);
  EXPECT_EQ(weights->head.dense.weight.dtype(), nn::Dtype::f32);
  // All rows but those of the calibration, in the same precision.
  auto scores = evaluate({.model = options.output, .data = options.data, .encoder = options.encoder}, {});
  EXPECT_NEAR(JsonView(scores, "").at("accuracy").number(), trial.at("value").number(), 0.05);
  EXPECT_EQ(format::read_json(options.output / "pareto.json"), result);
  EXPECT_NE(base::read_file(options.output / "pareto.html").find("all layers in 8 bits"), std::string::npos);
}

TEST_F(QuantizeTest, a_goal_out_of_reach_leaves_the_nearest_and_the_gap) {
  options.max_loss = -1;  // a gain that no trial can have
  auto result = quantize(options, {});
  JsonView view(result, "result");
  EXPECT_FALSE(view.at("met").boolean());
  EXPECT_GT(view.at("gap").number(), 0.9);
  int chosen = 0;
  for (const JsonView& trial : view.at("trials").array()) chosen += trial.at("chosen").boolean();
  EXPECT_EQ(chosen, 1);
  EXPECT_EQ(tasks::ModelFolder(options.output).quantization().scheme, "w8a8-dynamic");
}

TEST_F(QuantizeTest, a_killed_search_goes_on_with_the_trials_it_had) {
  quantize(options, {});
  base::Path journal = options.output / "quantize.journal.json";
  std::string before = base::read_file(journal);
  std::filesystem::remove(options.output / "model.safetensors");
  quantize(options, {});
  EXPECT_EQ(base::read_file(journal), before) << "no trial was run again";
  EXPECT_TRUE(std::filesystem::exists(options.output / "model.safetensors"));
}

TEST_F(QuantizeTest, another_search_does_not_go_into_the_same_folder) {
  quantize(options, {});
  base::write_file_durably(folder.path() / "others.tsv", "label\ttext\nyes\tgood\nno\tbad\nno\tvery bad\n");
  options.data = folder.path() / "others.tsv";
  EXPECT_THROW(quantize(options, {}), base::Error);
  options.output = model.path();
  EXPECT_THROW(quantize(options, {}), base::Error) << "a model lies there";
}

TEST_F(QuantizeTest, a_journal_of_more_layers_than_there_are_is_refused) {
  quantize(options, {});
  auto journal = format::read_json(options.output / "quantize.journal.json");
  auto trials = *journal.find("trials")->array();
  trials.back().set("kept", 999);
  journal.set("trials", std::move(trials));
  base::write_file_durably(options.output / "quantize.journal.json", format::to_text(journal));
  EXPECT_THROW(quantize(options, {}), base::Error);
}

TEST_F(QuantizeTest, calibration_rows_are_not_evaluated_unless_allowed) {
  auto rows = [&](const char* output) {
    options.output = folder.path() / output;
    auto result = quantize(options, {});
    return JsonView(result, "").at("rows").integer();
  };
  int64_t apart = rows("apart");
  options.allow_overlap = true;
  EXPECT_EQ(rows("over"), 200);
  EXPECT_LE(apart, 200 - 64);
}

TEST_F(QuantizeTest, what_is_quantized_is_neither_quantized_again_nor_trained) {
  quantize(options, {});
  options.model = options.output;
  options.output = folder.path() / "again";
  EXPECT_THROW(quantize(options, {}), base::Error);
  tasks::ModelFolder written(options.model);
  EXPECT_THROW(written.load(written.architecture()), base::Error);
  EXPECT_THROW(written.load_with_fresh_head(written.architecture(), 1), base::Error);
}

TEST_F(QuantizeTest, an_embedder_keeps_the_order_of_its_similarities) {
  tasks::testing::write_tiny_model(model.path(), {.head = false});
  std::string rows = "label\ttext\tother\n";
  const char* texts[] = {"good",   "not good",          "the film was bad", "a very very good film",
                         "really", "was the film bad ."};
  for (int i = 0; i < 36; i++) rows += fmt::format("{}\t{}\t{}\n", i * 7 % 5, texts[i % 6], texts[i / 6]);
  base::write_file_durably(options.data, rows);
  options.columns = {.text = "text", .text_pair = "other", .label = "label"};
  options.allow_overlap = true;  // six texts
  options.max_loss = 1;
  options.relative = false;
  auto result = quantize(options, {});
  JsonView view(result, "result"), trial = view.at("trials").array()[1];
  EXPECT_EQ(view.at("calibration_rows").integer(), 18) << "pairs, not texts";
  EXPECT_EQ(view.at("goal.metric").string(), "spearman");
  EXPECT_GT(trial.at("agreement").number(), 0.9);
  tasks::Encoder before(model.path(), options.encoder), after(options.output, options.encoder);
  ASSERT_TRUE(after.embeds());
  tasks::PackedItem text = before.encode(texts[3]);
  const tasks::PackedItem* item[] = {&text};
  std::vector<float> exact, small;
  before.run(item, exact);
  after.run(item, small);
  auto x = tasks::embedding_of(exact, true), y = tasks::embedding_of(small, true);
  EXPECT_GT(std::inner_product(x.begin(), x.end(), y.begin(), 0.0), 0.99);
  EXPECT_NE(x, y);

  options.metric = tasks::Metric::accuracy;
  EXPECT_THROW(quantize(options, {}), base::Error);
}

TEST_F(QuantizeTest, answers_in_8_bits_are_the_same_bytes_on_any_number_of_threads_and_in_any_company) {
  options.max_loss = 1;
  quantize(options, {});
  for (nn::Format format : {nn::Format::f32, nn::Format::bf16}) {
    std::vector<std::vector<float>> found;
    for (int threads : {1, 2, 3}) {
      tasks::Encoder encoder(options.output, {{.format = format, .threads = threads}});
      std::vector<tasks::PackedItem> items;
      for (const char* text : {"the film was good", "bad", "not really very good film the was bad not"})
        items.push_back(encoder.encode(text));
      std::vector<const tasks::PackedItem*> all, last = {&items[2]};
      for (const auto& item : items) all.push_back(&item);
      std::vector<float> together, alone;
      encoder.run(all, together);
      encoder.run(last, alone);
      EXPECT_TRUE(std::ranges::equal(alone, std::span(together).last(alone.size())));
      found.push_back(together);
    }
    EXPECT_EQ(found[0], found[1]);
    EXPECT_EQ(found[0], found[2]);
  }
}

TEST_F(QuantizeTest, calibration_hears_that_it_shall_stop) {
  tasks::ModelFolder from(model.path());
  auto rows = read_search_rows(options, from);
  nn::kernel::Pool pool(1);
  std::stop_source stop;
  stop.request_stop();
  try {
    tasks::Quantizable quantizable(from, {}, rows.calibration, pool, stop.get_token());
    FAIL();
  } catch (const base::Error& e) { EXPECT_EQ(e.kind(), base::Kind::cancelled); }
}

TEST_F(QuantizeTest, calibration_rows_need_no_label) {
  base::write_file_durably(folder.path() / "texts.tsv", "text\nthe film was good\nvery bad\n");
  options.calibration = folder.path() / "texts.tsv";
  options.columns = {.text = "text", .text_pair = "", .label = "label"};
  auto result = quantize(options, {});
  EXPECT_EQ(JsonView(result, "").at("calibration_rows").integer(), 2);
  std::string many = "text\n";
  for (int i = 0; i < 150; i++) many += "the film was good\n";
  base::write_file_durably(folder.path() / "texts.tsv", many);
  options.output = folder.path() / "many";
  result = quantize(options, {});
  EXPECT_EQ(JsonView(result, "").at("calibration_rows").integer(), 150) << "of a file of its own all count";
}

TEST_F(QuantizeTest, the_nearest_is_the_one_that_most_resamples_keep) {
  options.confidence = 1.1;  // more than any can
  options.max_loss = 0.9;
  auto result = quantize(options, {});
  JsonView view(result, "result");
  EXPECT_FALSE(view.at("met").boolean());
  EXPECT_EQ(view.at("gap").number(), 0);
  EXPECT_EQ(view.at("within_goal").number(), 1);
  JsonView all_in_8_bits = view.at("trials").array()[1];
  EXPECT_EQ(all_in_8_bits.at("within_goal").number(), 1);
  EXPECT_TRUE(all_in_8_bits.at("chosen").boolean()) << "of those as near, the smallest";
}

TEST_F(QuantizeTest, a_share_of_nothing_is_no_goal) {
  std::string errors;  // one of the labels is never the answer
  for (std::string label : {"yes", "no"}) {
    std::string rows = "label\ttext\n";
    for (int i = 0; i < 80; i++) rows += label + "\tthe film was good\n";
    base::write_file_durably(options.data, rows);
    options.output = folder.path() / label;
    options.allow_overlap = true;
    try {
      quantize(options, {});
    } catch (const base::Error& e) { errors += e.what(); }
  }
  EXPECT_EQ(errors, "accuracy in f32 is 0: no share of it can be lost; give --max-loss-absolute");
}

TEST_F(QuantizeTest, trials_that_begin_behind_a_prefix_answer_the_same) {
  tasks::ModelFolder from(model.path());
  auto rows = read_search_rows(options, from);
  nn::kernel::Pool pool(2);
  tasks::Quantizable quantizable(from, {}, rows.calibration, pool, {});
  Trials trials(quantizable.model(), {}, rows.evaluation, pool, {});
  for (nn::Format format : {nn::Format::f32, nn::Format::bf16}) {
    std::vector<bool> second_layer(quantizable.layers());
    for (size_t i = 0; i < second_layer.size(); i++) second_layer[i] = quantizable.block(i) == 1;
    quantizable.hold(second_layer, true);
    Prefix kept{.layers = 1, .states = {}};
    auto whole = trials.answers(format), keeping = trials.answers(format, {}, &kept);
    ASSERT_GT(kept.states.size(), 0u);
    EXPECT_EQ(trials.answers(format, kept), whole);
    EXPECT_EQ(keeping, whole);
    for (float& state : kept.states) state = -state;
    EXPECT_NE(trials.answers(format, kept), whole) << "the states are what it begins with";
  }
}

TEST_F(QuantizeTest, damaged_folders_are_refused_by_name) {
  quantize(options, {});
  std::string config = base::read_file(options.output / "config.json");
  auto refusal = [&](const std::string& from, const std::string& to) {
    std::string changed = config;
    changed.replace(changed.find(from), from.size(), to);
    base::write_file_durably(options.output / "config.json", changed);
    try {
      tasks::ModelFolder(options.output).load();
    } catch (const base::Error& error) { return std::string(error.what()); }
    return std::string();
  };
  EXPECT_NE(refusal(R"("format_version": 1)", R"("format_version": 3)").find("format_version"),
            std::string::npos);
  EXPECT_NE(refusal(R"("quant_method": "textmill")", R"("quant_method": "hqq")").find("quant_method"),
            std::string::npos);
}

}  // namespace
}  // namespace textmill::offline
