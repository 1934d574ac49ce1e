#include "train/trainer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "tasks/model_folder.h"
#include "tasks/testing.h"
#include "train/order.h"

namespace textmill::train {
namespace {

struct TrainerTest : testing::Test {
  TrainerTest() {
    tasks::testing::write_tiny_model(folder.path(), {.head = false});
    for (uint64_t row = 0; row < 24; row++) {
      std::vector<int32_t> ids{2};
      for (uint64_t i = 0; i < 1 + derive(row, 0) % 9; i++)
        ids.push_back(5 + static_cast<int32_t>(derive(row, i + 1) % 10));
      ids.push_back(3);
      int label = std::count(ids.begin(), ids.end(), 9) > 0;
      examples.add(ids, std::vector<int32_t>(ids.size()), label);
    }
  }

  struct Run {
    std::vector<float> weights;
    std::vector<double> losses;
  };

  /// `steps` steps of 8 rows.
  Run run(TrainOptions options, int steps, int threads = 1, int settle_after = -1) {
    tasks::ModelFolder base(folder.path());
    auto architecture = base.architecture();
    if (options.dropout) {
      architecture.dropout = architecture.attention_dropout = architecture.head_dropout = *options.dropout;
    }
    auto model = base.load_with_fresh_head(architecture, options.seed);
    nn::kernel::Pool pool(threads);
    Trainer trainer(make_training_plan(*model, nn::Format::f32), options, pool);
    Steps plan{examples.size(), 8, 100};
    Run result;
    for (int64_t step = 0; step < steps; step++) {
      auto order = epoch_order(options.seed, plan.epoch_of(step), examples.size());
      result.losses.push_back(
          trainer.step(examples, plan.rows_of(step, order), step, options.learning_rate, {})->loss);
      if (step == settle_after) {
        trainer.settle();
        trainer.restore(trainer.steps());
      }
    }
    trainer.settle();
    for (nn::Weight* weight : nn::fields(*model)) {
      result.weights.insert(result.weights.end(), weight->own().begin(), weight->own().end());
    }
    return result;
  }

  static double distance(const Run& a, const Run& b) {
    double largest = 0;
    for (size_t i = 0; i < a.weights.size(); i++) {
      largest = std::max<double>(largest, std::abs(a.weights[i] - b.weights[i]));
    }
    return largest;
  }

  base::TemporaryFolder folder;
  Examples examples;
};

TEST_F(TrainerTest, learns) {
  auto losses = run({.batch_size = 8, .learning_rate = 3e-3}, 60).losses;
  EXPECT_LT(std::accumulate(losses.end() - 6, losses.end(), 0.0) / 6, 0.3);
  EXPECT_GT(losses[0], 0.5);
}

TEST_F(TrainerTest, accumulation_equals_the_large_batch_dropout_included) {
  // A clean gradient direction: AdamW's first steps divide by |g|, and so amplify what rounding leaves of zeros.
  TrainOptions whole{.batch_size = 8, .learning_rate = 1e-3, .dropout = 0.2};
  TrainOptions parts = whole, single = whole;
  parts.batch_size = 3;
  single.batch_size = 1;
  Run one = run(whole, 4), other = run(parts, 4), each = run(single, 4);
  for (int step = 0; step < 4; step++) {
    EXPECT_NEAR(one.losses[step], other.losses[step], 1e-5);
    EXPECT_NEAR(one.losses[step], each.losses[step], 1e-5);
  }
  whole.dropout = 0;
  EXPECT_GT(std::abs(run(whole, 1).losses[0] - one.losses[0]), 1e-4) << "there was dropout";
}

TEST_F(TrainerTest, bytes_do_not_depend_on_threads_or_on_when_rows_are_brought_up_to_date) {
  TrainOptions options{.batch_size = 8, .learning_rate = 1e-3};
  Run one = run(options, 5), other = run(options, 5, 3), settled = run(options, 5, 2, 2);
  EXPECT_EQ(one.losses, other.losses);
  EXPECT_EQ(std::memcmp(one.weights.data(), other.weights.data(), one.weights.size() * 4), 0);
  EXPECT_EQ(std::memcmp(one.weights.data(), settled.weights.data(), one.weights.size() * 4), 0);
  options.seed++;
  EXPECT_GT(distance(one, run(options, 5)), 1e-5);
}

TEST_F(TrainerTest, clipping_bounds_what_one_step_sees) {
  TrainOptions options{.batch_size = 8, .learning_rate = 1e-3, .max_grad_norm = 0};
  Run free = run(options, 2);
  options.max_grad_norm = 1e-3;
  EXPECT_GT(distance(free, run(options, 2)), 1e-6);
}

TEST_F(TrainerTest, stops_between_micro_batches_and_leaves_the_weights_as_they_were) {
  tasks::ModelFolder base(folder.path());
  auto model = base.load_with_fresh_head(base.architecture(), 1);
  nn::kernel::Pool pool(1);
  Trainer trainer(make_training_plan(*model, nn::Format::f32), {.batch_size = 2}, pool);
  auto before = std::vector<float>(model->body.words.own().begin(), model->body.words.own().end());
  std::stop_source stop;
  stop.request_stop();
  std::vector<uint32_t> rows{0, 1, 2, 3};
  EXPECT_FALSE(trainer.step(examples, rows, 0, 1e-3, stop.get_token()));
  EXPECT_TRUE(std::ranges::equal(model->body.words.own(), before));
  EXPECT_EQ(trainer.steps(), 0);
}

TEST_F(TrainerTest, a_loss_that_is_not_a_number_ends_the_run) {
  EXPECT_THROW(run({.batch_size = 8, .learning_rate = 1e30, .max_grad_norm = 0}, 3), base::Error);
}

}  // namespace
}  // namespace textmill::train
