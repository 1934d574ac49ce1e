#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <tuple>

#include "tasks/scores.h"

namespace textmill::tasks {

/// A figure of Scores: accuracy; f1, of the positive class of two labels (or of the one named), else the macro average;
/// macro_f1. Of an embedder: spearman, of its cosines of pairs against what people said.
enum class Metric : uint8_t { accuracy, f1, macro_f1, spearman };
const char* name(Metric metric);
/// Throws invalid listing what there is.
Metric metric_named(std::string_view name);
double value(const Scores& scores, Metric metric);  // not spearman

/// How much of a metric a candidate loses against a reference on the same rows.
struct Loss {
  double reference = 0, candidate = 0;  // the metric of each
  double loss = 0;                      // reference - candidate, or that / reference
  double low = 0, high = 0;             // the middle 95 % of what resampled rows give
  double within = 0;                    // the share of resamples whose loss is at most the goal
};

/// A loss this much beyond a goal is at it: 0.9 - 0.89 is 0.010000000000000009.
constexpr double kLossRounding = 1e-9;

/// The loss of a candidate that takes the metric from one value to another.
double loss_between(double reference, double candidate, bool relative);

/// Spearman's rank correlation, equal values sharing the mean of their ranks; 0 if all values of one side are equal.
double spearman(std::span<const double> x, std::span<const double> y);
/// What spearman(truth, ·) loses from reference to candidate, by the bootstrap of Paired::loss.
Loss rank_loss(std::span<const double> truth, std::span<const double> reference,
               std::span<const double> candidate, bool relative, double goal, int resamples = 2000);

/// The answers of two models to the same rows, counted.
class Paired {
 public:
  Paired(int labels, std::optional<int> positive) : labels_(labels), positive_(positive) {}

  void add(int truth, int reference, int candidate);
  int64_t count() const { return count_; }
  /// The share of rows that both answer alike.
  double agreement() const;
  /// Bootstrap over rows, both models together (Efron and Tibshirani 1993), of `resamples` draws from a fixed seed.
  Loss loss(Metric metric, bool relative, double goal, int resamples = 2000) const;

 private:
  int labels_;
  std::optional<int> positive_;
  int64_t count_ = 0;
  std::map<std::tuple<int, int, int>, int64_t> cells_;  // rows by truth and both answers
};

}  // namespace textmill::tasks
