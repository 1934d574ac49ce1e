#include "base/spelling.h"

#include <gtest/gtest.h>

#include <array>

namespace textmill::base {
namespace {

constexpr std::array<std::string_view, 4> kWords{"batch-size", "epochs", "learning-rate", "seed"};

TEST(Spelling, finds_the_nearest) {
  EXPECT_EQ(nearest("epoch", kWords), "epochs");
  EXPECT_EQ(nearest("learningrate", kWords), "learning-rate");
  EXPECT_EQ(nearest("bacth-size", kWords), "batch-size");
  EXPECT_EQ(nearest("sede", kWords), "seed");
  EXPECT_EQ(nearest("seed", kWords), "seed");
}

TEST(Spelling, says_nothing_when_all_are_far) {
  EXPECT_EQ(nearest("colour", kWords), "");
  EXPECT_EQ(nearest("", kWords), "");
  EXPECT_EQ(nearest("seed", {}), "");
  EXPECT_EQ(did_you_mean("colour", kWords), "");
}

TEST(Spelling, did_you_mean) { EXPECT_EQ(did_you_mean("epoch", kWords), "; did you mean epochs?"); }

}  // namespace
}  // namespace textmill::base
