#include "train/loss.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace textmill::train {
namespace {

TEST(Loss, gradient_is_that_of_finite_differences) {
  std::vector<float> logits{0.5f, -1, 2, 3, 0, -0.25f}, gradient(6), ignored(6);
  std::vector<int32_t> labels{2, 1};
  double loss = cross_entropy_root(logits, labels, 0.5, gradient);
  for (size_t i = 0; i < logits.size(); i++) {
    auto at = [&](float x) {
      auto moved = logits;
      moved[i] = x;
      return cross_entropy_root(moved, labels, 0.5, ignored);
    };
    double slope = (at(logits[i] + 0.01f) - at(logits[i] - 0.01f)) / 0.02;
    EXPECT_NEAR(gradient[i], slope, 1e-5);
  }
  EXPECT_NEAR(loss, 1.6630840954655342, 1e-12) << "torch.nn.functional.cross_entropy, f64";
}

TEST(Loss, parts_of_a_step_add_up) {
  std::vector<float> logits{0.5f, -1, 2, 3}, whole(4), first(2), second(2);
  std::vector<int32_t> labels{0, 1};
  double loss = cross_entropy_root(logits, labels, 0.5, whole);
  std::span all(logits);
  loss -= cross_entropy_root(all.first(2), std::vector<int32_t>{0}, 0.5, first);
  loss -= cross_entropy_root(all.last(2), std::vector<int32_t>{1}, 0.5, second);
  EXPECT_NEAR(loss, 0, 1e-15);
  EXPECT_EQ(whole, (std::vector<float>{first[0], first[1], second[0], second[1]}));
}

TEST(Loss, survives_large_logits) {
  std::vector<float> logits{1000, 0}, gradient(2);
  EXPECT_DOUBLE_EQ(cross_entropy_root(logits, std::vector<int32_t>{1}, 1, gradient), 1000);
  EXPECT_EQ(gradient, (std::vector<float>{1, -1}));
}

}  // namespace
}  // namespace textmill::train
