#include "train/options.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"

namespace textmill::train {
namespace {

std::string refusal(auto&& action) {
  try {
    action();
  } catch (const base::Error& error) { return error.what(); }
  return "";
}

void set(TrainOptions& options, std::string_view name, std::string_view value) {
  std::ranges::find(option_rows(), name, &OptionRow::name)->set(options, {name, value});
}

std::string refusal(std::string_view option, std::string_view value) {
  TrainOptions options;
  return refusal([&] { set(options, option, value); });
}

TEST(Options, values) {
  TrainOptions options;
  set(options, "batch-size", "32");
  set(options, "learning-rate", "1e-4");
  set(options, "precision", "f32");
  set(options, "resume", "");
  set(options, "seed", "18446744073709551615");
  EXPECT_EQ(options.batch_size, 32);
  EXPECT_EQ(options.learning_rate, 1e-4);
  EXPECT_EQ(options.format, nn::Format::f32);
  EXPECT_TRUE(options.resume);
  EXPECT_EQ(options.seed, UINT64_MAX);
}

TEST(Options, refusals) {
  EXPECT_EQ(refusal("epochs", "0"), "epochs: '0' is not a whole number of at least 1");
  EXPECT_EQ(refusal("batch-size", "8x"), "batch-size: '8x' is not a whole number of at least 1");
  EXPECT_EQ(refusal("dropout", "1"), "dropout: '1' is not a number from 0 to below 1");
  EXPECT_EQ(refusal("learning-rate", "nan"), "learning-rate: 'nan' is not a number from 0 to 1000000");
  EXPECT_EQ(refusal("threads", "-1"), "threads: '-1' is not a whole number from 0 to 1024");
  EXPECT_EQ(refusal("seed", "-1"), "seed: '-1' is not a whole number of at least 0");
  EXPECT_EQ(refusal("precision", "fp16"), "precision: 'fp16' is not bf16 or f32");
  EXPECT_EQ(refusal("resume", "maybe"), "resume: 'maybe' is not true or false");
  EXPECT_EQ(refusal("task", "translation"), "task: 'translation' is not a task; known: text-classification");
  EXPECT_EQ(refusal("learning-rate", "1e30"), "learning-rate: '1e30' is not a number from 0 to 1000000");
}

TEST(Options, combinations) {
  TrainOptions options;
  options.text_pair = "b";
  EXPECT_EQ(refusal([&] { check(options); }), "text-pair: needs text, the column of the first text");
  options = {};
  options.batch_size = options.gradient_accumulation = 1 << 20;
  EXPECT_NE(refusal([&] { check(options); }), "");
  EXPECT_EQ(refusal([&] { check({}); }), "");
}

}  // namespace
}  // namespace textmill::train
