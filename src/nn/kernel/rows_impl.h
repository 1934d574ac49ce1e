#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "nn/kernel/kernels.h"
#include "nn/kernel/math_impl.h"

namespace textmill::nn::kernel {

/// The kernels of rows.h on rows [first, first + rows), or on some columns of all rows, for activations of type T.
template <class S, class T>
struct RowsOf {
  using F = typename S::F;

  static const T* row(const void* x, int row, int cols) {
    return static_cast<const T*>(x) + int64_t{row} * cols;
  }
  static T* row(void* x, int row, int cols) { return static_cast<T*>(x) + int64_t{row} * cols; }

  template <class Count>
  [[gnu::always_inline]] static void put(T* out, F value, bool accumulate, Count count) {
    S::store(out, accumulate ? S::load(out, count) + value : value, count);
  }

  // ---- sums

  struct MixedRow {
    const T* x;
    F factor;
    DropoutRate rate;
    DropoutRow dropout;

    template <class Count>
    [[gnu::always_inline]] F at(int j, Count count) const {
      F value = S::load(x + j, count) * factor;
      return rate ? value * dropout_factors<S>(rate, dropout, j) : value;
    }
  };
  static MixedRow mixed_row(const Mix::Operand& operand, int r, int cols) {
    MixedRow mixed{row(operand.x, r, cols),
                   S::set(operand.mask ? operand.factor * operand.mask[r] : operand.factor),
                   operand.dropout.rate,
                   {}};
    if (operand.dropout) mixed.dropout = operand.dropout.row(r);
    return mixed;
  }

  static void mix(const Mix& m, int first, int rows) {
    for (int r = first; r < first + rows; r++) {
      MixedRow a = mixed_row(m.a, r, m.cols), b = m.b.x ? mixed_row(m.b, r, m.cols) : MixedRow{};
      T* out = row(m.out, r, m.cols);
      columns<S>(
          m.cols, [&](int j, auto count) __attribute__((always_inline)) {
            F value = a.at(j, count);
            if (b.x) value = value + b.at(j, count);
            put(out + j, value, m.accumulate, count);
          });
    }
  }

  static double dot(const void* x, const void* y, const int32_t* mask, int cols, int first, int rows) {
    double total = 0;
    for (int r = first; r < first + rows; r++) {
      if (mask && !mask[r]) continue;
      F sum{};
      columns<S>(
          cols, [&](int j, auto count) __attribute__((always_inline)) {
            sum = S::fma(S::load(row(x, r, cols) + j, count), S::load(row(y, r, cols) + j, count), sum);
          });
      total += double{S::sum(sum)};
    }
    return total;
  }

  // ---- norms

  static void norm(const Norm& n, int first, int rows) {
    for (int r = first; r < first + rows; r++) {
      for (int g = 0; g < n.groups(); g++) norm_group(n, r, g);
      if (n.quantized) quantize(n.y, n.cols, r, 1, n.scaling, n.quantized);
    }
  }

  static void quantize(const void* x, int cols, int first, int rows, const InputScaling& scaling,
                       QuantizedRows out) {
    for (int r = first; r < first + rows; r++) {
      const T* from = row(x, r, cols);
      auto plain = [&](int j, auto count) __attribute__((always_inline)) { return S::load(from + j, count); };
      if (!scaling) {
        quantize_row(plain, cols, 0, r, out);
      } else if (!scaling.columns) {
        quantize_row(plain, cols, scaling.step, r, out);
      } else {
        quantize_row(
            [&](int j, auto count) __attribute__((always_inline)) {
              F x = S::load(from + j, count), by = S::load(scaling.columns + j, count);
              return by != 0.0F ? x / by : x;  // 0: behind the last column
            },
            cols, scaling.step, r, out);
      }
    }
  }

  /// By `step`, or if it is 0 by the row's own. What is larger than 127 steps is 127.
  template <class Load>
  static void quantize_row(Load load, int cols, float step, int r, QuantizedRows out) {
    float scale = scale_of(load, cols);
    if (step > 0 && !std::isnan(scale)) scale = step;
    float inverse = scale > 0 ? 1 / scale : 0;
    out.scales[r] = scale;
    uint8_t* values = out.values + int64_t{r} * cols;
    F most = F{} + 127.0F;
    columns<S>(
        cols, [&](int j, auto count) __attribute__((always_inline)) {
          // A row without a usable scale is zeros, whatever is in it.
          typename S::I value{};
          if (inverse > 0) value = S::round(S::max(S::min(load(j, count) * inverse, most), -most));
          S::store_bytes(values + j, value + 128, count);
        });
  }

  /// The largest magnitude / 127: NaN if one is not finite, 0 if that is no normal number. Magnitudes are compared as
  /// the bits they are, so that a NaN is the largest.
  template <class Load>
  static float scale_of(Load load, int cols) {
    typename S::U largest{};
    columns<S>(
        cols, [&](int j, auto count) __attribute__((always_inline)) {
          auto bits = (typename S::U)S::abs(load(j, count));
          largest = bits > largest ? bits : largest;
        });
    uint32_t most = 0;
    for (int i = 0; i < S::width; i++) most = std::max<uint32_t>(most, largest[i]);
    if (most >= 0x7f800000u) return std::numeric_limits<float>::quiet_NaN();
    float magnitude, scale;
    std::memcpy(&magnitude, &most, sizeof magnitude);
    scale = magnitude / 127;
    return scale < std::numeric_limits<float>::min() ? 0 : scale;
  }

  static void norm_group(const Norm& n, int r, int g) {
    const T* x = row(n.x, r, n.cols) + g * n.size;
    T* y = row(n.y, r, n.cols) + g * n.size;
    float mean = 0;
    if (n.kind == NormKind::layer) {
      F sum{};
      columns<S>(
          n.size, [&](int j, auto count)
                      __attribute__((always_inline)) { sum = sum + S::load(x + j, count); });
      mean = S::sum(sum) / static_cast<float>(n.size);
    }
    F squares{};
    columns<S>(
        n.size, [&](int j, auto count) __attribute__((always_inline)) {
          F centred = within(S::load(x + j, count) - mean, count);
          squares = S::fma(centred, centred, squares);
        });
    float total = S::sum(squares);
    float inverse = n.kind == NormKind::l2 ? 1 / std::sqrt(std::max(total, 1e-24F))
                                           : 1 / std::sqrt(total / static_cast<float>(n.size) + n.eps);
    columns<S>(
        n.size, [&](int j, auto count) __attribute__((always_inline)) {
          F value = (S::load(x + j, count) - mean) * inverse;
          if (n.scale) value = value * S::load(n.scale + j, count);
          if (n.bias) value = value + S::load(n.bias + j, count);
          S::store(y + j, value, count);
        });
    if (!n.side) return;
    float* side = n.side + int64_t{r} * n.side_cols();
    side[g] = inverse;
    if (n.kind == NormKind::layer) side[n.groups() + g] = mean;
  }

  /// Zero beyond the end of the row.
  [[gnu::always_inline]] static F within(F x, Full) { return x; }
  [[gnu::always_inline]] static F within(F x, Part part) {
    return S::count_up() < S::set_word(static_cast<uint32_t>(part.count)) ? x : F{};
  }

  /// `sums` [2 · size]: this part's gradients of scale and bias, written.
  static void norm_backward(const NormBackward& b, int first, int rows, float* sums) {
    std::memset(sums, 0, 2 * sizeof(float) * b.norm.size);
    for (int r = first; r < first + rows; r++) {
      DropoutRow dropout{};
      if (b.d_dropped && b.dropout) dropout = b.dropout.row(r);
      for (int g = 0; g < b.norm.groups(); g++) norm_backward_group(b, r, g, dropout, sums);
    }
  }

  /// dx = 1/std · (g - mean(g) - x̂ · mean(g · x̂)), g = dy · scale; Rms and L2 have no mean(g), L2 sums where they average.
  static void norm_backward_group(const NormBackward& b, int r, int g, DropoutRow dropout, float* sums) {
    const Norm& n = b.norm;
    int64_t at = int64_t{r} * n.cols + g * n.size;
    const T *x = static_cast<const T*>(n.x) + at, *dy = static_cast<const T*>(b.dy) + at;
    const float* side = n.side + int64_t{r} * n.side_cols();
    float inverse = side[g], mean = n.kind == NormKind::layer ? side[n.groups() + g] : 0;
    F sum{}, product{};
    columns<S>(
        n.size, [&](int j, auto count) __attribute__((always_inline)) {
          F d = S::load(dy + j, count), hat = (S::load(x + j, count) - mean) * inverse;
          S::store(sums + j, S::load(sums + j, count) + d * hat, count);
          S::store(sums + n.size + j, S::load(sums + n.size + j, count) + d, count);
          if (n.scale) d = d * S::load(n.scale + j, count);
          sum = sum + d;
          product = S::fma(d, hat, product);
        });
    if (!b.dx && !b.d_dropped) return;
    float divisor = n.kind == NormKind::l2 ? 1 : static_cast<float>(n.size);
    float shift = n.kind == NormKind::layer ? S::sum(sum) / divisor : 0, slope = S::sum(product) / divisor;
    T *dx = static_cast<T*>(b.dx) + at, *dropped = static_cast<T*>(b.d_dropped) + at;
    columns<S>(
        n.size, [&](int j, auto count) __attribute__((always_inline)) {
          F d = S::load(dy + j, count), hat = (S::load(x + j, count) - mean) * inverse;
          if (n.scale) d = d * S::load(n.scale + j, count);
          F value = (d - shift - hat * slope) * inverse;
          if (b.dx) put(dx + j, value, b.accumulate, count);
          if (b.d_dropped)
            S::store(dropped + j,
                     b.dropout ? value * dropout_factors<S>(b.dropout.rate, dropout, g * n.size + j) : value,
                     count);
        });
  }

  // ---- activations

  static void activate(const Activate& a, int first, int rows) {
    int64_t begin = int64_t{first} * a.cols;
    const T *x = static_cast<const T*>(a.x) + begin, *gate = static_cast<const T*>(a.gate) + begin;
    T *y = static_cast<T*>(a.y) + begin, *slopes = static_cast<T*>(a.slope) + begin;
    with_activation(
        a.activation, [&](auto activation) __attribute__((always_inline)) {
          columns<S>(
              rows * a.cols, [&](int j, auto count) __attribute__((always_inline)) {
                F slope, value = kernel::activate<S, T, activation>(S::load(x + j, count),
                                                                    a.slope ? &slope : nullptr);
                if (a.slope) S::store(slopes + j, slope, count);
                if (a.gate) value = value * S::load(gate + j, count);
                S::store(y + j, value, count);
              });
        });
  }

  static void activate_backward(const ActivateBackward& b, int first, int rows) {
    const Activate& a = b.forward;
    int64_t begin = int64_t{first} * a.cols;
    const T *x = static_cast<const T*>(a.x) + begin, *gate = static_cast<const T*>(a.gate) + begin;
    const T *slopes = static_cast<const T*>(a.slope) + begin, *dy = static_cast<const T*>(b.dy) + begin;
    T *dx = static_cast<T*>(b.dx) + begin, *d_gate = static_cast<T*>(b.d_gate) + begin;
    with_activation(
        a.activation, [&](auto activation) __attribute__((always_inline)) {
          columns<S>(
              rows * a.cols, [&](int j, auto count) __attribute__((always_inline)) {
                F d = S::load(dy + j, count), slope, value{};
                if (a.slope) {
                  slope = S::load(slopes + j, count);
                } else {
                  value = kernel::activate<S, T, activation>(S::load(x + j, count), &slope);
                }
                if (a.gate) slope = slope * S::load(gate + j, count);
                if (b.dx) put(dx + j, d * slope, b.accumulate, count);
                if (b.d_gate) put(d_gate + j, d * value, b.accumulate_gate, count);
              });
        });
  }

  // ---- tables and rows

  static void embed(const Embed& e, int first, int rows) {
    for (int r = first; r < first + rows; r++) {
      T* y = row(e.y, r, e.cols);
      columns<S>(
          e.cols, [&](int j, auto count) __attribute__((always_inline)) {
            F sum{};
            for (int k = 0; k < e.count; k++) {
              const Embed::Table& table = e.tables[k];
              int64_t at = int64_t{table.ids[r]} * e.cols + j;
              sum = sum + (table.bytes ? S::load(table.bytes + at, count) * table.scales[table.ids[r]]
                                       : S::load(table.values + at, count));
            }
            S::store(y + j, sum, count);
          });
    }
  }

  static void embed_backward(const Embed& e, const void* dy, int first, int count) {
    for (int k = 0; k < e.count; k++) {
      if (!e.tables[k].gradient) continue;
      for (int r = 0; r < e.rows; r++) {
        float* to = e.tables[k].gradient + int64_t{e.tables[k].ids[r]} * e.cols + first;
        const T* from = row(dy, r, e.cols) + first;
        columns<S>(
            count, [&](int j, auto part) __attribute__((always_inline)) {
              S::store(to + j, S::load(to + j, part) + S::load(from + j, part), part);
            });
      }
    }
  }

  static void scatter(const void* y, const int32_t* index, int rows, int cols, void* x, int first,
                      int count) {
    for (int r = 0; r < rows; r++) {
      T* to = row(x, index[r], cols) + first;
      const T* from = row(y, r, cols) + first;
      columns<S>(
          count, [&](int j, auto part)
                     __attribute__((always_inline)) { put(to + j, S::load(from + j, part), true, part); });
    }
  }

  static void mean(const void* x, int cols, int first, int end, void* y) {
    F share = S::set(end > first ? 1 / static_cast<float>(end - first) : 0);
    columns<S>(
        cols, [&](int j, auto count) __attribute__((always_inline)) {
          F sum{};
          for (int r = first; r < end; r++) sum = sum + S::load(row(x, r, cols) + j, count);
          S::store(static_cast<T*>(y) + j, sum * share, count);
        });
  }

  static void mean_backward(const void* dy, int cols, int first, int end, void* dx, bool accumulate) {
    for (int r = first; r < end; r++) {
      columns<S>(
          cols, [&](int j, auto count) __attribute__((always_inline)) {
            F d = S::load(static_cast<const T*>(dy) + j, count) * (1 / static_cast<float>(end - first));
            put(row(dx, r, cols) + j, d, accumulate, count);
          });
    }
  }

  // ---- losses

  static void cross_entropy(const CrossEntropy& c, int first, int rows) {
    for (int r = first; r < first + rows; r++) {
      const T* logits = row(c.logits, r, c.cols);
      float largest = widen(logits[0]), sum = 0;
      for (int j = 1; j < c.cols; j++) largest = std::max(largest, widen(logits[j]));
      F sums{};
      columns<S>(
          c.cols, [&](int j, auto count) __attribute__((always_inline)) {
            sums = sums + within(exponential<S>(S::load(logits + j, count) - largest), count);
          });
      sum = largest + std::log(S::sum(sums));
      if (c.log_sums) c.log_sums[r] = sum;
      c.losses[r] = c.labels[r] < 0 ? 0 : c.weights[r] * (sum - widen(logits[c.labels[r]]));
    }
  }

  static void cross_entropy_backward(const CrossEntropy& c, void* d_logits, bool accumulate, int first,
                                     int rows) {
    for (int r = first; r < first + rows; r++) {
      const T* logits = row(c.logits, r, c.cols);
      T* out = row(d_logits, r, c.cols);
      float weight = c.labels[r] < 0 ? 0 : c.weights[r], log_sum = c.log_sums[r];
      columns<S>(
          c.cols, [&](int j, auto count) __attribute__((always_inline)) {
            F p = exponential<S>(S::load(logits + j, count) - log_sum);
            auto here =
                S::count_up() + static_cast<uint32_t>(j) == S::set_word(static_cast<uint32_t>(c.labels[r]));
            put(out + j, (p - (here ? S::set(1) : F{})) * weight, accumulate, count);
          });
    }
  }

  static void widen_all(const void* x, float* y, int count) {
    columns<S>(
        count, [&](int j, auto part) __attribute__((always_inline)) {
          S::store(y + j, S::load(static_cast<const T*>(x) + j, part), part);
        });
  }
  static void narrow_all(const float* x, void* y, int count) {
    columns<S>(
        count, [&](int j, auto part) __attribute__((always_inline)) {
          S::store(static_cast<T*>(y) + j, S::load(x + j, part), part);
        });
  }

  static constexpr RowKernels kTable = {mix,
                                        dot,
                                        norm,
                                        norm_backward,
                                        activate,
                                        activate_backward,
                                        embed,
                                        embed_backward,
                                        scatter,
                                        mean,
                                        mean_backward,
                                        cross_entropy,
                                        cross_entropy_backward,
                                        quantize,
                                        widen_all,
                                        narrow_all};
};

template <class S>
struct OptimizerOf {
  using F = typename S::F;

  static void adamw(const AdamWStep& s, float* values, float* gradient, float* m, float* v, int64_t count) {
    for (int64_t first = 0; first < count; first += kBlock) {
      columns<S>(
          static_cast<int>(std::min(kBlock, count - first)), [&](int j,
                                                                 auto part) __attribute__((always_inline)) {
            int64_t i = first + j;
            F g = S::load(gradient + i, part) * s.gradient_scale;
            F m1 = S::load(m + i, part), v1 = S::load(v + i, part) * s.beta2;
            m1 = m1 + (g - m1) * s.rise1;
            v1 = v1 + s.rise2 * g * g;
            S::store(m + i, m1, part);
            S::store(v + i, v1, part);
            F push = m1 / (S::sqrt(v1) / s.root_correction + s.epsilon);
            S::store(values + i, S::load(values + i, part) * s.decay - push * s.step_size, part);
            S::store(gradient + i, F{}, part);
          });
    }
  }

  /// Summed in f64.
  static double squares(const float* x, int64_t count) {
    using D = typename S::D;
    D sum{};
    for (int64_t first = 0; first < count; first += kBlock) {
      columns<S>(
          static_cast<int>(std::min(kBlock, count - first)), [&](int j,
                                                                 auto part) __attribute__((always_inline)) {
            D value = __builtin_convertvector(S::load(x + first + j, part), D);
            sum += value * value;
          });
    }
    double total = 0;
    for (int i = 0; i < S::width; i++) total += sum[i];
    return total;
  }

  static constexpr int64_t kBlock = 1024;  // columns() counts in int
  static constexpr OptimizerKernels kTable = {adamw, squares};
};

}  // namespace textmill::nn::kernel
