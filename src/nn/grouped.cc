#include "nn/grouped.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "base/error.h"
#include "nn/f16.h"
#include "nn/kernel/kernels.h"
#include "nn/kernel/pool.h"

namespace textmill::nn {
namespace {

constexpr int kRows = 16;  // of a weight, that one task works on

std::vector<float> values_of(const Weight& weight) {
  std::vector<float> values(weight.count());
  weight.read(0, weight.rows, values.data());
  auto bad = std::find_if(values.begin(), values.end(), [](float x) { return !std::isfinite(x); });
  if (bad != values.end()) {
    throw base::Error(base::Kind::invalid, fmt::format("weight {}: row {} has a number that is not finite",
                                                       weight.name, (bad - values.begin()) / weight.cols));
  }
  return values;
}

/// In f16, which ends at 65,504.
uint16_t step_of(float range, int steps) {
  return narrow_f16(std::min(range / static_cast<float>(steps), 65'504.0F));
}

/// The steps of a group, as its values are given.
struct Steps {
  uint16_t half = 0;  // the scale
  float scale = 1;
  int zero = 1, most;

  Steps(const float* x, int count, int most) : most(most) {
    auto [least, largest] = std::minmax_element(x, x + count);
    float low = std::min(0.0F, *least), high = std::max(0.0F, *largest);
    half = step_of(high - low, most);
    if (int found = nearest(-low); found >= 1) {
      zero = std::min(found, most);
    } else {
      half = step_of(high, most - 1);
    }
    scale = widen_f16(half);
  }
  int nearest(float x) const {
    float step = widen_f16(half);
    return step > 0 ? static_cast<int>(std::nearbyint(x / step)) : 0;
  }
  int value(float x) const { return std::clamp(nearest(x) + zero, 0, most); }
  float back(int value) const { return scale * static_cast<float>(value - zero); }
};

GroupedWeight empty_like(const Weight& weight, int bits, int group) {
  int rows = static_cast<int>(weight.rows), cols = static_cast<int>(weight.cols);
  int groups = group > 0 ? (cols + group - 1) / group : 1;
  GroupedWeight w{.rows = rows, .cols = cols, .groups = groups, .bits = bits};
  w.values.resize(size_t(rows) * cols);
  w.scales.resize(size_t(groups) * rows);
  w.zeros.resize(w.scales.size());
  w.group_of.resize(cols);
  for (int col = 0; col < cols; col++) w.group_of[col] = group > 0 ? col / group : 0;
  return w;
}

void keep(GroupedWeight& w, int group, int row, const Steps& steps) {
  w.scales[size_t(group) * w.rows + row] = steps.half;
  w.zeros[size_t(group) * w.rows + row] = static_cast<uint8_t>(steps.zero);
}

/// `values` [rows, cols] in groups of columns that follow each other.
GroupedWeight rounded(const Weight& weight, const std::vector<float>& values, int bits, int group) {
  GroupedWeight w = empty_like(weight, bits, group);
  int size = group > 0 ? group : w.cols;
  for (int row = 0; row < w.rows; row++) {
    for (int first = 0; first < w.cols; first += size) {
      size_t at = size_t(row) * w.cols + first;
      int count = std::min(size, w.cols - first);
      Steps steps(&values[at], count, (1 << bits) - 1);
      keep(w, first / size, row, steps);
      for (int i = 0; i < count; i++) w.values[at + i] = static_cast<uint8_t>(steps.value(values[at + i]));
    }
  }
  return w;
}

/// xᵀx [cols, cols] of x [rows, cols].
std::vector<float> squares_of_columns(std::span<const float> x, int cols, kernel::Pool& pool) {
  const kernel::Kernels& kernels = kernel::kernels(kernel::choose_path());
  std::vector<float> h(size_t(cols) * cols);
  kernel::WeightGradient gradient{.dy = x.data(), .x = x.data(), .out = cols, .in = cols, .dw = h.data()};
  int rows = static_cast<int>(std::ssize(x) / cols);
  std::vector<std::byte> scratch(
      kernel::weight_gradient_bytes(kernels, kernel::Type::f32, rows, {&gradient, 1}));
  kernel::weight_gradients(pool, kernels, kernel::Type::f32, rows, {&gradient, 1}, scratch.data());
  return h;
}

/// The upper triangle U with UᵀU = H⁻¹, row-major in f32, of a positive H [n, n], which is used up. From H = LᵀL, taken from
/// the last row on: U = (L⁻¹)ᵀ.
std::vector<float> root_of_inverse(std::vector<double>& h, int n) {
  auto row = [&](int i) { return &h[size_t(i) * n]; };
  for (int j = n - 1; j >= 0; j--) {
    double* c = row(j);
    c[j] = std::sqrt(c[j]);
    for (int k = 0; k < j; k++) c[k] /= c[j];
    for (int i = 0; i < j; i++) {
      double *x = row(i), factor = c[i];
      for (int k = 0; k <= i; k++) x[k] -= factor * c[k];
    }
  }
  std::vector<float> upper(h.size());
  std::vector<double> inverse(h.size()), sum(n);
  for (int i = 0; i < n; i++) {
    std::fill(sum.begin(), sum.end(), 0);
    for (int m = 0; m < i; m++) {
      const double* x = &inverse[size_t(m) * n];
      double factor = row(i)[m];
      for (int k = 0; k <= m; k++) sum[k] += factor * x[k];
    }
    double* out = &inverse[size_t(i) * n];
    for (int k = 0; k < i; k++) out[k] = -sum[k] / row(i)[i];
    out[i] = 1 / row(i)[i];
    for (int k = 0; k <= i; k++) upper[size_t(k) * n + i] = static_cast<float>(out[k]);
  }
  return upper;
}

/// H with its columns in `order`, damped; columns that nothing is read from count as one.
std::vector<double> damped(const std::vector<float>& h, const std::vector<int>& order) {
  size_t n = order.size();
  std::vector<double> out(n * n);
  for (size_t i = 0; i < n; i++) {
    for (size_t j = 0; j < n; j++) out[i * n + j] = h[size_t(order[i]) * n + order[j]];
    if (out[i * n + i] == 0) out[i * n + i] = 1;
  }
  double mean = 0;
  for (size_t i = 0; i < n; i++) mean += out[i * n + i] / static_cast<double>(n);
  for (size_t i = 0; i < n; i++) out[i * n + i] += 0.01 * mean;
  return out;
}

/// Σ (x · dᵀ)² for x [n, cols] and d [rows, cols].
double output_squares(std::span<const float> x, const std::vector<float>& d, int cols, kernel::Pool& pool) {
  const kernel::Kernels& kernels = kernel::kernels(kernel::choose_path());
  int rows = static_cast<int>(std::ssize(d) / cols), n = static_cast<int>(std::ssize(x) / cols);
  std::vector<std::byte> packed(kernel::packed_bytes(kernels, kernel::Type::f32, cols, rows) + 64);
  void* start = packed.data();
  size_t space = packed.size();
  auto* b = static_cast<std::byte*>(std::align(64, space - 64, start, space));
  kernel::pack_transposed(pool, kernels, kernel::Type::f32, d.data(), rows, cols, b);
  std::vector<float> y(size_t(n) * rows);
  kernel::Product product{
      .rows = n, .cols = rows, .terms = {{{x.data(), b, cols}}}, .term_count = 1, .out = y.data()};
  kernel::multiply(pool, kernels, {&product, 1});
  return std::accumulate(y.begin(), y.end(), 0.0, [](double sum, float v) { return sum + double{v} * v; });
}

}  // namespace

GroupedWeight round_to_groups(const Weight& weight, int bits, int group) {
  return rounded(weight, values_of(weight), bits, group);
}

GroupedWeight gptq(const Weight& weight, std::span<const float> x, int bits, int group, kernel::Pool& pool) {
  GroupedWeight w = empty_like(weight, bits, group);
  int n = w.cols, size = group > 0 ? group : n, most = (1 << bits) - 1;
  std::vector<float> values = values_of(weight), h = squares_of_columns(x, n, pool);
  std::vector<int> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return h[size_t(a) * n + a] > h[size_t(b) * n + b]; });
  for (int i = 0; i < n; i++) w.group_of[order[i]] = i / size;
  std::vector<double> ordered = damped(h, order);
  std::vector<float> upper = root_of_inverse(ordered, n);

  pool.run((w.rows + kRows - 1) / kRows, [&](int task, int) {
    int first = task * kRows, end = std::min(first + kRows, w.rows);
    std::vector<float> left(size_t(kRows) * n);  // values in `order`, changed by what was lost before
    for (int row = first; row < end; row++) {
      for (int i = 0; i < n; i++) left[size_t(row - first) * n + i] = values[size_t(row) * n + order[i]];
    }
    std::vector<Steps> steps(kRows, Steps(left.data(), 1, most));
    for (int i = 0; i < n; i++) {
      const float* u = &upper[size_t(i) * n];
      for (int row = first; row < end; row++) {
        float* x = &left[size_t(row - first) * n];
        Steps& of = steps[row - first];
        if (i % size == 0) {
          of = Steps(x + i, std::min(size, n - i), most);
          keep(w, i / size, row, of);
        }
        int value = of.value(x[i]);
        w.values[size_t(row) * n + order[i]] = static_cast<uint8_t>(value);
        float lost = (x[i] - of.back(value)) / u[i];
        for (int k = i + 1; k < n; k++) x[k] -= lost * u[k];
      }
    }
  });
  return w;
}

GroupedWeight awq(const Weight& weight, std::span<const float> x, int bits, int group, kernel::Pool& pool) {
  int cols = static_cast<int>(weight.cols), n = static_cast<int>(std::ssize(x) / cols);
  std::vector<float> values = values_of(weight), mean(cols), some;
  for (int i = 0; i < n; i++) {
    for (int j = 0; j < cols; j++) mean[j] += std::abs(x[size_t(i) * cols + j]) / static_cast<float>(n);
  }
  int stride = std::max(1, (n + kAwqRows - 1) / kAwqRows);
  for (int i = 0; i < n; i += stride)
    some.insert(some.end(), &x[size_t(i) * cols], &x[size_t(i) * cols] + cols);

  GroupedWeight best;
  double least = HUGE_VAL;
  std::vector<float> scaled(values.size()), scales(cols);
  for (int step = 0; step < 20; step++) {
    for (int j = 0; j < cols; j++)
      scales[j] = std::max(std::pow(mean[j], static_cast<float>(step) / 20), 1e-4F);
    auto [low, high] = std::minmax_element(scales.begin(), scales.end());
    float middle = std::sqrt(*low * *high);
    for (float& scale : scales) scale /= middle;
    for (size_t i = 0; i < values.size(); i++) scaled[i] = values[i] * scales[i % cols];
    GroupedWeight w = rounded(weight, scaled, bits, group);
    w.column_scales = scales;
    for (int row = 0; row < w.rows; row++) {
      for (int j = 0; j < cols; j++)
        scaled[size_t(row) * cols + j] = values[size_t(row) * cols + j] - w.read(row, j);
    }
    double error = output_squares(some, scaled, cols, pool);
    if (error < least) {
      least = error;
      best = std::move(w);
    }
  }
  return best;
}

}  // namespace textmill::nn
