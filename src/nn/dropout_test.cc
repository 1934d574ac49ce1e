#include "nn/dropout.h"

#include <gtest/gtest.h>

#include <cmath>

namespace textmill::nn {
namespace {

// Means over rows, over columns and over neighbours must be those of independent draws.
TEST(Dropout, KeepsTheRightShareIndependently) {
  constexpr int kRows = 512, kColumns = 512;
  for (double p : {0.1, 0.5}) {
    uint32_t threshold = dropout_threshold(p);
    auto keeps = [&](DropoutRow row, uint32_t column) { return dropout_hash(row, column) >= threshold; };
    int64_t kept = 0, both_in_row = 0, both_in_column = 0;
    for (int row = 0; row < kRows; row++) {
      DropoutRow here = dropout_row(7, 3, row), next = dropout_row(7, 3, row + 1);
      for (uint32_t column = 0; column < kColumns; column++) {
        bool keep = keeps(here, column);
        kept += keep;
        both_in_row += keep && keeps(here, column + 1);
        both_in_column += keep && keeps(next, column);
      }
    }
    double n = kRows * kColumns, q = 1 - p;
    EXPECT_NEAR(kept / n, q, 5 * std::sqrt(q * p / n));
    EXPECT_NEAR(both_in_row / n, q * q, 5 * std::sqrt(q * q * (1 - q * q) / n));
    EXPECT_NEAR(both_in_column / n, q * q, 5 * std::sqrt(q * q * (1 - q * q) / n));
  }
}

TEST(Dropout, EveryPartOfTheKeyMatters) {
  auto same = [](DropoutRow a, DropoutRow b) { return a.a == b.a && a.b == b.b; };
  DropoutRow row = dropout_row(1, 2, 3, 4);
  EXPECT_TRUE(same(row, dropout_row(1, 2, 3, 4)));
  EXPECT_FALSE(same(row, dropout_row(2, 2, 3, 4)));
  EXPECT_FALSE(same(row, dropout_row(1, 3, 3, 4)));
  EXPECT_FALSE(same(row, dropout_row(1, 2, 4, 4)));
  EXPECT_FALSE(same(row, dropout_row(1, 2, 3, 5)));
}

}  // namespace
}  // namespace textmill::nn
