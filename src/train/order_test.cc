#include "train/order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace textmill::train {
namespace {

TEST(Order, is_a_permutation_that_seed_and_epoch_decide) {
  auto order = epoch_order(1, 0, 1000);
  EXPECT_EQ(std::set(order.begin(), order.end()).size(), 1000u);
  EXPECT_EQ(*std::max_element(order.begin(), order.end()), 999u);
  EXPECT_EQ(order, epoch_order(1, 0, 1000));
  EXPECT_NE(order, epoch_order(1, 1, 1000));
  EXPECT_NE(order, epoch_order(2, 0, 1000));
  EXPECT_EQ(epoch_order(7, 3, 1), std::vector<uint32_t>{0});
  EXPECT_TRUE(epoch_order(7, 3, 0).empty());
}

// The numbers are part of the format: another order would break the resumption of old checkpoints.
TEST(Order, stays_what_it_was) {
  EXPECT_EQ(epoch_order(42, 0, 8), (std::vector<uint32_t>{5, 1, 7, 0, 3, 4, 2, 6}));
}

TEST(Order, every_place_gets_every_row_about_as_often) {
  constexpr int kRows = 8, kRounds = 8000;
  int seen[kRows][kRows] = {};
  for (int seed = 0; seed < kRounds; seed++) {
    auto order = epoch_order(seed, seed % 3, kRows);
    for (int place = 0; place < kRows; place++) seen[place][order[place]]++;
  }
  double chi = 0, expected = static_cast<double>(kRounds) / kRows;
  for (auto& place : seen)
    for (int count : place) chi += (count - expected) * (count - expected) / expected;
  EXPECT_LT(chi, 94) << "49 degrees of freedom: p = 1e-4";
}

TEST(Order, steps_cover_each_epoch_once) {
  Steps steps{.rows = 10, .rows_per_step = 4, .epochs = 2};
  EXPECT_EQ(steps.per_epoch(), 3);
  EXPECT_EQ(steps.total(), 6);
  auto order = epoch_order(5, 1, 10);
  std::vector<uint32_t> seen;
  for (int64_t step = 3; step < 6; step++) {
    EXPECT_EQ(steps.epoch_of(step), 1);
    auto rows = steps.rows_of(step, order);
    EXPECT_EQ(rows.size(), step == 5 ? 2u : 4u);
    seen.insert(seen.end(), rows.begin(), rows.end());
  }
  EXPECT_EQ(seen, order);
}

}  // namespace
}  // namespace textmill::train
