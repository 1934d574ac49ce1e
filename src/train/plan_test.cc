#include "train/plan.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tasks/footprint.h"
#include "tasks/model_folder.h"
#include "tasks/testing.h"

namespace textmill::train {
namespace {

struct PlanTest : testing::Test {
  PlanTest() {
    tasks::testing::write_tiny_model(folder.path());
    base.emplace(folder.path());
    model = base->load();
    for (int32_t row = 0; row < 64; row++) {
      std::vector<int32_t> ids(row % 20 + 3, 5);
      examples.add(ids, ids, 0);
    }
  }

  std::string refusal(int batch_size, int accumulation, int64_t available) {
    TrainOptions options{.batch_size = batch_size, .gradient_accumulation = accumulation};
    try {
      check_memory(make_training_plan(*model, nn::Format::f32), examples, options, available);
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), base::Kind::limit);
      return error.what();
    }
    return "";
  }

  /// What the longest `rows` examples need.
  int64_t needs(int rows) {
    auto plan = make_training_plan(*model, nn::Format::f32);
    std::vector<int32_t> lengths;
    for (int length = 22; rows > 0; length--)
      for (int i = 0; i < (length < 7 ? 4 : 3) && rows > 0; i++, rows--) lengths.push_back(length);
    return tasks::footprint(plan.plan, plan.inputs, lengths).total();
  }

  base::TemporaryFolder folder;
  std::optional<tasks::ModelFolder> base;
  std::unique_ptr<models::TextClassifier> model;
  Examples examples;
};

TEST_F(PlanTest, what_fits_passes) {
  EXPECT_EQ(refusal(64, 1, int64_t{1} << 40), "");
  EXPECT_EQ(refusal(8, 1, needs(8)), "");
}

TEST_F(PlanTest, says_which_batch_size_would_fit) {
  std::string said = refusal(16, 2, needs(5) + 64);
  EXPECT_NE(said.find("training does not fit into memory: batches of 16 need"), std::string::npos) << said;
  EXPECT_NE(said.find("--batch-size 4 --gradient-accumulation 8 would fit"), std::string::npos) << said;
  EXPECT_EQ(refusal(4, 8, needs(5) + 64), "") << "and it does";
  EXPECT_NE(refusal(16, 1, needs(1) - 1).find("not even one row at a time would fit"), std::string::npos);
}

TEST_F(PlanTest, a_batch_is_no_larger_than_the_data) { EXPECT_EQ(refusal(1 << 20, 1, needs(64)), ""); }

TEST_F(PlanTest, training_needs_more_than_sixteen_bytes_a_parameter) {
  auto plan = make_training_plan(*model, nn::Format::f32);
  auto bytes = tasks::footprint(plan.plan, plan.inputs, std::vector<int32_t>{4});
  EXPECT_EQ(bytes.master, bytes.gradients);
  EXPECT_EQ(bytes.moments, 2 * bytes.master);
  EXPECT_GT(bytes.packed, 0);
  EXPECT_GT(bytes.activations, 0);
  EXPECT_EQ(bytes.tables, 0) << "all are trained";
}

}  // namespace
}  // namespace textmill::train
