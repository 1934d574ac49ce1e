#include "nn/kernel/bf16.h"

#include <gtest/gtest.h>

#include <cmath>

namespace textmill::nn::kernel {
namespace {

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
