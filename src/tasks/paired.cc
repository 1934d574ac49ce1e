#include "tasks/paired.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <vector>

#include "base/error.h"

namespace textmill::tasks {
namespace {

constexpr Metric kMetrics[] = {Metric::accuracy, Metric::f1, Metric::macro_f1};

}  // namespace

const char* name(Metric metric) {
  switch (metric) {
    case Metric::accuracy: return "accuracy";
    case Metric::f1: return "f1";
    case Metric::macro_f1: return "macro_f1";
  }
  return "";
}

Metric metric_named(std::string_view text) {
  for (Metric metric : kMetrics) {
    if (text == name(metric)) return metric;
  }
  throw base::Error(base::Kind::invalid, fmt::format("metric '{}': expected accuracy, f1 or macro_f1", text));
}

double value(const Scores& scores, Metric metric) {
  switch (metric) {
    case Metric::accuracy: return scores.accuracy();
    case Metric::f1: return scores.positive_f1().value_or(scores.macro_f1());
    case Metric::macro_f1: return scores.macro_f1();
  }
  return 0;
}

void Paired::add(int truth, int reference, int candidate) {
  cells_[{truth, reference, candidate}]++;
  count_++;
}

double Paired::agreement() const {
  int64_t same = 0;
  for (const auto& [cell, rows] : cells_) same += std::get<1>(cell) == std::get<2>(cell) ? rows : 0;
  return count_ ? static_cast<double>(same) / static_cast<double>(count_) : 0;
}

Loss Paired::loss(Metric metric, bool relative, double goal, int resamples) const {
  TEXTMILL_CHECK(count_ > 0 && resamples > 0);
  auto measure = [&](const std::vector<int64_t>& rows) {
    Scores reference(labels_, positive_), candidate(labels_, positive_);
    size_t at = 0;
    for (const auto& [cell, unused] : cells_) {
      auto [truth, left, right] = cell;
      reference.add_answers(truth, left, rows[at]);
      candidate.add_answers(truth, right, rows[at++]);
    }
    Loss found{.reference = value(reference, metric), .candidate = value(candidate, metric)};
    found.loss = found.reference - found.candidate;
    if (relative) found.loss = found.reference > 0 ? found.loss / found.reference : 0;
    return found;
  };
  std::vector<int64_t> rows;
  for (const auto& [cell, count] : cells_) rows.push_back(count);
  Loss found = measure(rows);

  // Rows drawn with replacement are a multinomial over the cells: one binomial after the other.
  std::mt19937_64 random(9527);
  std::vector<double> losses;
  std::vector<int64_t> drawn(rows.size());
  for (int i = 0; i < resamples; i++) {
    int64_t left = count_, rest = count_;
    for (size_t cell = 0; cell < rows.size(); cell++) {
      double share = static_cast<double>(rows[cell]) / static_cast<double>(rest);
      drawn[cell] = std::binomial_distribution<int64_t>(left, std::min(share, 1.0))(random);
      left -= drawn[cell];
      rest -= rows[cell];
    }
    losses.push_back(measure(drawn).loss);
  }
  std::sort(losses.begin(), losses.end());
  found.low = losses[losses.size() * 25 / 1000];
  found.high = losses[losses.size() * 975 / 1000];
  auto within = std::upper_bound(losses.begin(), losses.end(), goal) - losses.begin();
  found.within = static_cast<double>(within) / static_cast<double>(resamples);
  return found;
}

}  // namespace textmill::tasks
