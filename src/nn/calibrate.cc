#include "nn/calibrate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace textmill::nn {
namespace {

constexpr int kBins = 2048, kSteps = 128;

/// Magnitudes in bins of equal width up to the largest.
std::vector<double> histogram(std::span<const float> x, float largest) {
  std::vector<double> bins(kBins);
  for (float v : x) bins[std::min(kBins - 1, static_cast<int>(std::abs(v) / largest * kBins))]++;
  return bins;
}

float percentile(std::span<const float> x) {
  std::vector<float> magnitudes(x.size());
  std::transform(x.begin(), x.end(), magnitudes.begin(), [](float v) { return std::abs(v); });
  auto at = magnitudes.begin() + static_cast<int64_t>(0.9999 * static_cast<double>(x.size() - 1));
  std::nth_element(magnitudes.begin(), at, magnitudes.end());
  return *at;
}

/// Of the first `kept` bins, the rest counted to the last of them, from the same in kSteps runs of bins: what each run holds,
/// spread over those of its bins that are not empty.
double divergence(const std::vector<double>& bins, int kept) {
  std::vector<double> p(bins.begin(), bins.begin() + kept);
  p.back() += std::accumulate(bins.begin() + kept, bins.end(), 0.0);
  double total = std::accumulate(p.begin(), p.end(), 0.0),
         inside = std::accumulate(bins.begin(), bins.begin() + kept, 0.0);
  if (inside == 0) return HUGE_VAL;
  double sum = 0;
  for (int step = 0; step < kSteps; step++) {
    int first = step * kept / kSteps, end = (step + 1) * kept / kSteps;
    double held = std::accumulate(bins.begin() + first, bins.begin() + end, 0.0);
    auto filled = std::count_if(bins.begin() + first, bins.begin() + end, [](double n) { return n > 0; });
    for (int i = first; i < end; i++) {
      if (p[i] == 0) continue;
      double q = bins[i] > 0 ? held / static_cast<double>(filled) / inside : 1e-9;
      sum += p[i] / total * std::log(p[i] / total / q);
    }
  }
  return sum;
}

double squared_error(const std::vector<double>& bins, double width, double range) {
  double step = range / 127, sum = 0;
  for (int i = 0; i < kBins; i++) {
    double x = (i + 0.5) * width, error = x - std::min(std::nearbyint(x / step), 127.0) * step;
    sum += bins[i] * error * error;
  }
  return sum;
}

/// The candidate of [first, last] with the least cost, the first of equals.
template <class Cost>
int least(int first, int last, Cost cost) {
  int best = first;
  double found = HUGE_VAL;
  for (int i = first; i <= last; i++) {
    if (double now = cost(i); now < found) found = now, best = i;
  }
  return best;
}

}  // namespace

float input_range(std::span<const float> x, Range range) {
  TEXTMILL_CHECK(!x.empty());
  float largest = 0;
  for (float v : x) largest = std::max(largest, std::abs(v));
  if (range == Range::largest || largest == 0) return largest;
  if (range == Range::percentile) return percentile(x);
  std::vector<double> bins = histogram(x, largest);
  if (range == Range::divergence) {
    int kept = least(kSteps, kBins, [&](int i) { return divergence(bins, i); });
    return static_cast<float>(kept) / kBins * largest;
  }
  double width = double{largest} / kBins;
  int hundredths =
      least(1, 100, [&](int i) { return squared_error(bins, width, double{largest} * i / 100); });
  return static_cast<float>(double{largest} * hundredths / 100);
}

std::vector<float> smoothing(std::span<const float> x, std::span<const Weight* const> weights, double alpha) {
  auto cols = static_cast<size_t>(weights[0]->cols);
  std::vector<float> inputs(cols), columns(cols), row(cols);
  for (size_t i = 0; i < x.size(); i++) inputs[i % cols] = std::max(inputs[i % cols], std::abs(x[i]));
  for (const Weight* weight : weights) {
    for (int64_t r = 0; r < weight->rows; r++) {
      weight->read(r, 1, row.data());
      for (size_t j = 0; j < cols; j++) columns[j] = std::max(columns[j], std::abs(row[j]));
    }
  }
  for (size_t j = 0; j < cols; j++) {
    bool known = inputs[j] > 0 && columns[j] > 0;
    columns[j] = known ? static_cast<float>(std::pow(inputs[j], alpha) / std::pow(columns[j], 1 - alpha)) : 1;
  }
  return columns;
}

}  // namespace textmill::nn
