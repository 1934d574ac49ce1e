#include "tasks/paired.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "base/error.h"

namespace textmill::tasks {
namespace {

constexpr Metric kMetrics[] = {Metric::accuracy, Metric::f1, Metric::macro_f1, Metric::spearman};
constexpr uint64_t kSeed = 9527;  // of resamples

/// What `found` says about resamples, from the loss in each.
void summarize(std::vector<double> losses, double goal, Loss& found) {
  std::sort(losses.begin(), losses.end());
  found.low = losses[losses.size() * 25 / 1000];
  found.high = losses[losses.size() * 975 / 1000];
  auto within = std::upper_bound(losses.begin(), losses.end(), goal + kLossRounding) - losses.begin();
  found.within = static_cast<double>(within) / static_cast<double>(losses.size());
}

/// Ranks of values that count several times, or not at all.
class Ranks {
 public:
  explicit Ranks(std::span<const double> values) : order_(values.size()), ranks_(values.size()) {
    std::iota(order_.begin(), order_.end(), 0);
    std::sort(order_.begin(), order_.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
    for (size_t i = 1; i <= order_.size(); i++) {
      if (i == order_.size() || values[order_[i]] != values[order_[i - 1]]) ends_.push_back(i);
    }
  }

  /// From -1/2 to 1/2, so that the mean rank is 0.
  const std::vector<double>& of(const std::vector<int32_t>& counts, double total) {
    double before = 0;
    for (size_t first = 0; size_t end : ends_) {
      double own = 0;
      for (size_t i = first; i < end; i++) own += counts[order_[i]];
      for (size_t i = first; i < end; i++) ranks_[order_[i]] = (before + own / 2) / total - 0.5;
      before += own;
      first = end;
    }
    return ranks_;
  }

 private:
  std::vector<size_t> order_, ends_;
  std::vector<double> ranks_;
};

double correlation(const std::vector<double>& x, const std::vector<double>& y,
                   const std::vector<int32_t>& counts) {
  double xy = 0, xx = 0, yy = 0;
  for (size_t i = 0; i < x.size(); i++) {
    xy += counts[i] * x[i] * y[i];
    xx += counts[i] * x[i] * x[i];
    yy += counts[i] * y[i] * y[i];
  }
  return xx > 0 && yy > 0 ? xy / std::sqrt(xx * yy) : 0;
}

}  // namespace

double loss_between(double reference, double candidate, bool relative) {
  double loss = reference - candidate;
  return !relative ? loss : reference > 0 ? loss / reference : 0;
}

double spearman(std::span<const double> x, std::span<const double> y) {
  TEXTMILL_CHECK(x.size() == y.size());
  std::vector<int32_t> once(x.size(), 1);
  auto total = static_cast<double>(x.size());
  return correlation(Ranks(x).of(once, total), Ranks(y).of(once, total), once);
}

Loss rank_loss(std::span<const double> truth, std::span<const double> reference,
               std::span<const double> candidate, bool relative, double goal, int resamples) {
  size_t rows = truth.size();
  TEXTMILL_CHECK(rows > 0 && reference.size() == rows && candidate.size() == rows && resamples > 0);
  Ranks of_truth(truth), of_reference(reference), of_candidate(candidate);
  auto total = static_cast<double>(rows);
  auto measure = [&](const std::vector<int32_t>& counts) {
    const auto& ranks = of_truth.of(counts, total);
    Loss found{.reference = correlation(ranks, of_reference.of(counts, total), counts),
               .candidate = correlation(ranks, of_candidate.of(counts, total), counts)};
    found.loss = loss_between(found.reference, found.candidate, relative);
    return found;
  };
  std::vector<int32_t> counts(rows, 1);
  Loss found = measure(counts);
  std::mt19937_64 random(kSeed);
  std::uniform_int_distribution<size_t> row(0, rows - 1);
  std::vector<double> losses;
  for (int i = 0; i < resamples; i++) {
    std::fill(counts.begin(), counts.end(), 0);
    for (size_t drawn = 0; drawn < rows; drawn++) counts[row(random)]++;
    losses.push_back(measure(counts).loss);
  }
  summarize(std::move(losses), goal, found);
  return found;
}

const char* name(Metric metric) {
  switch (metric) {
    case Metric::accuracy: return "accuracy";
    case Metric::f1: return "f1";
    case Metric::macro_f1: return "macro_f1";
    case Metric::spearman: return "spearman";
  }
  return "";
}

Metric metric_named(std::string_view text) {
  for (Metric metric : kMetrics) {
    if (text == name(metric)) return metric;
  }
  throw base::Error(base::Kind::invalid,
                    fmt::format("metric '{}': expected accuracy, f1, macro_f1 or spearman", text));
}

double value(const Scores& scores, Metric metric) {
  switch (metric) {
    case Metric::accuracy: return scores.accuracy();
    case Metric::f1: return scores.positive_f1().value_or(scores.macro_f1());
    case Metric::macro_f1: return scores.macro_f1();
    case Metric::spearman: break;
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
    found.loss = loss_between(found.reference, found.candidate, relative);
    return found;
  };
  std::vector<int64_t> rows;
  for (const auto& [cell, count] : cells_) rows.push_back(count);
  Loss found = measure(rows);

  // Rows drawn with replacement are a multinomial over the cells: one binomial after the other.
  std::mt19937_64 random(kSeed);
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
  summarize(std::move(losses), goal, found);
  return found;
}

}  // namespace textmill::tasks
