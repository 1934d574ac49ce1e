#include "nn/kernel/dropout.h"

#include <gtest/gtest.h>

#include <cmath>

#include "nn/kernel/bf16.h"

namespace textmill::nn::kernel {
namespace {

// Means over rows, over columns and over neighbours must be those of independent draws.
TEST(Dropout, KeepsTheRightShareIndependently) {
  constexpr int kRows = 512, kColumns = 512;
  for (double p : {0.1, 0.5}) {
    DropoutRate rate(p);
    int64_t kept = 0, both_in_row = 0, both_in_column = 0;
    for (int row = 0; row < kRows; row++) {
      DropoutRow here = dropout_row(7, 3, row), next = dropout_row(7, 3, row + 1);
      for (uint32_t column = 0; column < kColumns; column++) {
        bool keep = rate.keeps(here, column);
        kept += keep;
        both_in_row += keep && rate.keeps(here, column + 1);
        both_in_column += keep && rate.keeps(next, column);
      }
    }
    double n = kRows * kColumns, q = 1 - p;
    EXPECT_NEAR(kept / n, q, 5 * std::sqrt(q * p / n));
    EXPECT_NEAR(both_in_row / n, q * q, 5 * std::sqrt(q * q * (1 - q * q) / n));
    EXPECT_NEAR(both_in_column / n, q * q, 5 * std::sqrt(q * q * (1 - q * q) / n));
  }
}

TEST(Dropout, EveryPartOfTheKeyMatters) {
  auto same = [](DropoutRow a, DropoutRow b) { return a.low == b.low && a.high == b.high; };
  DropoutRow row = dropout_row(1, 2, 3, 4);
  EXPECT_TRUE(same(row, dropout_row(1, 2, 3, 4)));
  EXPECT_FALSE(same(row, dropout_row(2, 2, 3, 4)));
  EXPECT_FALSE(same(row, dropout_row(1, 3, 3, 4)));
  EXPECT_FALSE(same(row, dropout_row(1, 2, 4, 4)));
  EXPECT_FALSE(same(row, dropout_row(1, 2, 3, 5)));
  EXPECT_FALSE(DropoutRate(0.0));
  EXPECT_TRUE(DropoutRate(0.1));
  EXPECT_FLOAT_EQ(DropoutRate(0.5).scale, 2);
}

TEST(Bf16, RoundsToNearestEvenAndKeepsSpecialValues) {
  EXPECT_EQ(to_bf16(1.0f).bits, 0x3f80);
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3f808000u)).bits, 0x3f80);  // a tie, to even
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3f818000u)).bits, 0x3f82);
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3f808001u)).bits, 0x3f81);
  EXPECT_EQ(widen(to_bf16(INFINITY)), INFINITY);
  EXPECT_TRUE(std::isnan(widen(to_bf16(std::bit_cast<float>(0x7f800001u)))));
  EXPECT_EQ(widen(to_bf16(-0.0f)), 0.0f);
  EXPECT_TRUE(std::signbit(widen(to_bf16(-0.0f))));
}

}  // namespace
}  // namespace textmill::nn::kernel
