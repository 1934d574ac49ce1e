#include "tasks/scores.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace textmill::tasks {
namespace {

std::vector<float> says(int answer, int labels) {
  std::vector<float> logits(labels, 0.0f);
  logits[answer] = 1;
  return logits;
}

Scores scored(int labels, std::vector<int> truth, std::vector<int> answers,
              std::optional<int> positive = {}) {
  Scores scores(labels, positive);
  for (size_t i = 0; i < truth.size(); i++) scores.add(truth[i], says(answers[i], labels));
  return scores;
}

TEST(Scores, softmax_is_stable_and_sums_to_one) {
  auto p = softmax(std::vector<float>{-200, 0, 1000});
  EXPECT_EQ(p[2], 1);
  EXPECT_EQ(p[0], 0);
  p = softmax(std::vector<float>{1, 2, 3});
  EXPECT_NEAR(p[0], 0.09003057, 1e-7);
  EXPECT_NEAR(p[1], 0.24472847, 1e-7);
  EXPECT_NEAR(p[2], 0.66524096, 1e-7);
}

TEST(Scores, sigmoid_of_the_extremes) {
  auto p = sigmoid(std::vector<float>{-200, 0, 200, 1});
  EXPECT_EQ(p[0], 0);
  EXPECT_EQ(p[1], 0.5f);
  EXPECT_EQ(p[2], 1);
  EXPECT_NEAR(p[3], 0.7310586, 1e-7);
}

TEST(Scores, cross_entropy_is_minus_the_logarithm_of_the_right_probability) {
  EXPECT_NEAR(cross_entropy(std::vector<float>{1, 2, 3}, 1), -std::log(0.24472847105479764), 1e-12);
  EXPECT_NEAR(cross_entropy(std::vector<float>{1000, 0}, 1), 1000, 1e-9);
}

// sklearn.metrics.f1_score(t, p), f1_score(t, p, average="macro"), accuracy_score(t, p)
TEST(Scores, two_labels) {
  auto s = scored(2, {1, 1, 1, 0, 0, 1, 0, 1}, {1, 0, 1, 0, 1, 1, 0, 1});
  EXPECT_EQ(s.count(), 8);
  EXPECT_DOUBLE_EQ(s.accuracy(), 0.75);
  EXPECT_DOUBLE_EQ(s.micro_f1(), 0.75);
  EXPECT_DOUBLE_EQ(s.positive_f1().value(), 0.8);
  EXPECT_DOUBLE_EQ(s.macro_f1(), (0.8 + 2.0 / 3) / 2);
  EXPECT_EQ(s.confusion(1, 0), 1);
  EXPECT_EQ(s.confusion(0, 1), 1);
  EXPECT_EQ(s.confusion(1, 1), 4);
}

TEST(Scores, many_labels_and_a_chosen_positive) {
  auto s = scored(3, {0, 1, 2, 2, 1, 0, 2}, {0, 2, 2, 1, 1, 0, 0}, 2);
  EXPECT_DOUBLE_EQ(s.accuracy(), 4.0 / 7);
  EXPECT_DOUBLE_EQ(s.positive_f1().value(), 0.4);
  EXPECT_DOUBLE_EQ(s.macro_f1(), (0.8 + 0.5 + 0.4) / 3);
  EXPECT_FALSE(scored(3, {0}, {0}).positive_f1());
}

TEST(Scores, macro_leaves_out_labels_that_never_occur) {
  EXPECT_DOUBLE_EQ(scored(5, {0, 1}, {0, 1}).macro_f1(), 1);
  EXPECT_DOUBLE_EQ(scored(5, {0, 1}, {0, 3}).macro_f1(), 1.0 / 3)
      << "label 3 was answered, so it counts with 0";
}

TEST(Scores, nothing_scored_is_all_zero) {
  Scores s(2);
  EXPECT_EQ(s.accuracy(), 0);
  EXPECT_EQ(s.macro_f1(), 0);
  EXPECT_EQ(s.mean_loss(), 0);
  EXPECT_EQ(s.positive_f1().value(), 0);
}

TEST(Scores, mean_loss) {
  Scores s(2);
  s.add(0, std::vector<float>{0, 0});
  s.add(1, std::vector<float>{0, 0});
  EXPECT_NEAR(s.mean_loss(), std::log(2), 1e-12);
}

TEST(Scores, refuses_logits_that_are_not_numbers) {
  Scores s(2);
  EXPECT_THROW(s.add(0, std::vector<float>{0, NAN}), base::Error);
  EXPECT_THROW(s.add(0, std::vector<float>{INFINITY, 0}), base::Error);
  EXPECT_EQ(s.count(), 0);
}

TEST(Scores, many_labels_take_the_room_of_the_pairs_that_occur) {
  constexpr int kLabels = 1'000'000;
  Scores s(kLabels);
  s.add_answers(7, 7, 3);
  s.add_answers(7, 999'999, 1);
  EXPECT_EQ(s.accuracy(), 0.75);
  EXPECT_DOUBLE_EQ(s.macro_f1(), (6.0 / 7 + 0) / 2);
  Scores more(201);
  more.add_answers(7, 200, 5);
  std::vector<std::string> names(201);
  EXPECT_EQ(to_text(*to_json(more, names).find("confusion_cells")), "[[7,200,5]]");
  EXPECT_EQ(to_json(more, names).find("confusion_matrix"), nullptr);
}

TEST(Scores, as_json) {
  EXPECT_EQ(
      format::to_text(to_json(scored(2, {1, 1, 0, 0}, {1, 0, 0, 0}), {"no", "yes"})).substr(0, 121),
      R"({"accuracy":0.75,"macro_f1":0.7333333333333334,"micro_f1":0.75,"positive":"yes","positive_f1":0.6666666666666666,"loss":0)");
  auto json = to_json(scored(3, {1, 2}, {1, 0}), {"a", "b", "c"});
  EXPECT_EQ(json.find("positive"), nullptr);
  EXPECT_EQ(format::to_text(*json.find("confusion_matrix")), "[[0,0,0],[0,1,0],[1,0,0]]");
  EXPECT_EQ(format::to_text(*json.find("labels")), R"(["a","b","c"])");
}

}  // namespace
}  // namespace textmill::tasks
