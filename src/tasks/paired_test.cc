#include "tasks/paired.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace textmill::tasks {
namespace {

TEST(Paired, losses_are_those_of_the_metric) {
  Paired pairs(2, {});
  // 100 rows of each label. The reference is right in 90 of each; the candidate loses 10 positives more.
  for (int i = 0; i < 100; i++) {
    pairs.add(0, i < 90 ? 0 : 1, i < 90 ? 0 : 1);
    pairs.add(1, i < 90 ? 1 : 0, i < 80 ? 1 : 0);
  }
  EXPECT_DOUBLE_EQ(pairs.agreement(), 0.95);
  Loss accuracy = pairs.loss(Metric::accuracy, false, 0.05);
  EXPECT_DOUBLE_EQ(accuracy.reference, 0.9);
  EXPECT_DOUBLE_EQ(accuracy.candidate, 0.85);
  EXPECT_NEAR(accuracy.loss, 0.05, 1e-12);
  EXPECT_NEAR(pairs.loss(Metric::accuracy, true, 0.05).loss, 0.05 / 0.9, 1e-12);
  EXPECT_NEAR(pairs.loss(Metric::f1, false, 0).reference, 0.9, 1e-12);
  EXPECT_NEAR(pairs.loss(Metric::f1, false, 0).candidate, 160.0 / 190, 1e-12);
}

TEST(Paired, the_interval_is_that_of_a_proportion) {
  Paired pairs(2, {});
  for (int i = 0; i < 10'000; i++) pairs.add(1, 1, i < 9'900 ? 1 : 0);
  Loss loss = pairs.loss(Metric::accuracy, false, 0.01);
  // 1.96 · sqrt(0.01 · 0.99 / 10,000) = 0.00195 to each side.
  EXPECT_NEAR(loss.low, 0.01 - 0.00195, 2e-4);
  EXPECT_NEAR(loss.high, 0.01 + 0.00195, 2e-4);
  EXPECT_NEAR(loss.within, 0.5, 0.05);
  EXPECT_EQ(pairs.loss(Metric::accuracy, false, 0.02).within, 1);
  EXPECT_EQ(pairs.loss(Metric::accuracy, false, 0.001).within, 0);
}

TEST(Paired, rows_that_change_alike_are_no_loss) {
  Paired pairs(3, {});
  for (int i = 0; i < 300; i++) pairs.add(i % 3, (i + i / 100) % 3, (i + i / 100) % 3);
  Loss loss = pairs.loss(Metric::macro_f1, true, 0);
  EXPECT_EQ(loss.low, 0);
  EXPECT_EQ(loss.high, 0);
  EXPECT_EQ(loss.within, 1);
}

TEST(Spearman, equal_values_share_the_mean_of_their_ranks) {
  std::vector<double> x{1, 2, 3, 4, 5, 6}, down{9, 8, 7, 6, 5, 4}, ties{1, 1, 2, 2, 2, 9}, same(6, 3.0);
  EXPECT_NEAR(spearman(x, x), 1, 1e-12);
  EXPECT_NEAR(spearman(x, down), -1, 1e-12);
  EXPECT_NEAR(spearman(x, ties), 0.9258200997725515, 1e-12) << "scipy.stats.spearmanr's";
  EXPECT_EQ(spearman(x, same), 0);
}

TEST(Spearman, a_resample_is_what_its_rows_alone_would_give) {
  std::vector<double> truth, reference, candidate;
  for (int i = 0; i < 400; i++) {
    truth.push_back(i % 11);
    reference.push_back(i % 11 + 0.1 * (i % 7));
    candidate.push_back(i % 11 + 0.5 * (i % 7));
  }
  Loss loss = rank_loss(truth, reference, candidate, true, 0.02);
  double before = spearman(truth, reference), after = spearman(truth, candidate);
  EXPECT_DOUBLE_EQ(loss.reference, before);
  EXPECT_DOUBLE_EQ(loss.candidate, after);
  EXPECT_NEAR(loss.loss, (before - after) / before, 1e-12);
  EXPECT_LT(loss.low, loss.loss);
  EXPECT_GT(loss.high, loss.loss);
  EXPECT_EQ(rank_loss(truth, reference, reference, true, 0).within, 1);
  EXPECT_EQ(rank_loss(truth, reference, candidate, true, 1).within, 1);
  EXPECT_EQ(rank_loss(truth, reference, candidate, true, -1).within, 0);
}

TEST(Paired, metrics_have_names) {
  for (Metric metric : {Metric::accuracy, Metric::f1, Metric::macro_f1, Metric::spearman})
    EXPECT_EQ(metric_named(name(metric)), metric);
  EXPECT_THROW(metric_named("F1"), base::Error);
}

TEST(Paired, a_loss_at_the_goal_keeps_to_it) {
  Paired pairs(2, 1);
  for (int i = 0; i < 200; i++) pairs.add(1, i < 180, i < 178);
  Loss loss = pairs.loss(Metric::accuracy, false, 0.01);
  EXPECT_GT(loss.loss, 0.01) << "by rounding";
  EXPECT_GT(loss.within, 0.5);
}

}  // namespace
}  // namespace textmill::tasks
