#include "tasks/labels.h"

#include <gtest/gtest.h>

namespace textmill::tasks {
namespace {

using Labels = std::vector<std::string>;

TEST(Labels, by_bytes) {
  EXPECT_EQ(label_vocabulary({"b", "a", "B", "é", "10"}), (Labels{"10", "B", "a", "b", "é"}));
  EXPECT_EQ(label_vocabulary({"10", "9", "1.5"}), (Labels{"1.5", "10", "9"}));
}

TEST(Labels, by_number_if_all_are_integers) {
  EXPECT_EQ(label_vocabulary({"10", "9", "-1", "0"}), (Labels{"-1", "0", "9", "10"}));
  EXPECT_EQ(label_vocabulary({"+1", "-1"}), (Labels{"-1", "+1"}));
  EXPECT_EQ(label_vocabulary({"+1", "+-1"}), (Labels{"+-1", "+1"})) << "a word";
  EXPECT_EQ(label_vocabulary({"1", "01", "0"}), (Labels{"0", "01", "1"}));
}

TEST(Labels, integers_may_be_of_any_length) {
  EXPECT_EQ(label_vocabulary({"10", "9", "99999999999999999999", "-99999999999999999999", "-9", "-0", "0"}),
            (Labels{"-99999999999999999999", "-9", "-0", "0", "9", "10", "99999999999999999999"}));
  EXPECT_EQ(label_vocabulary({"10", "9", "-"}), (Labels{"-", "10", "9"}));
}

}  // namespace
}  // namespace textmill::tasks
