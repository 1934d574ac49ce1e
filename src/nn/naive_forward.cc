#include <cmath>
#include <type_traits>

#include "nn/activation.h"
#include "nn/dropout.h"
#include "nn/naive_ops.h"

namespace textmill::nn {
namespace {

template <class Real>
void embed(const Op& op, NaiveFrame<Real>& frame) {
  int y = op.outputs[0], cols = frame.cols(y);
  for (int r = 0; r < frame.count(y); r++) {
    for (int c = 0; c < cols; c++) {
      double sum = 0;
      for (size_t k = 0; k < op.weights.size(); k++) {
        sum += frame.weight(op, k)[size_t(frame.batch.index(op.indexes[k])[r]) * cols + c];
      }
      frame.tensor(y)[size_t(r) * cols + c] = static_cast<Real>(sum);
    }
  }
}

// In 8 bits if the weight is. y [rows, out]
template <class Real>
void product(const Op& op, const NaiveFrame<Real>& frame, const Real* x, int rows, Real* y) {
  if constexpr (std::is_same_v<Real, float>) {
    if (auto found = frame.quantized.find(op.weights[0]); found != frame.quantized.end()) {
      return naive_quantized_linear(x, rows, found->second, frame.weight(op, 1), y);
    }
  }
  naive_product(x, rows, frame.weight(op, 0), frame.cols(op.outputs[0]), frame.cols(op.inputs[0]),
                frame.weight(op, 1), y);
}

template <class Real>
void linear(const Op& op, NaiveFrame<Real>& frame) {
  const Real* x = frame.tensor(op.inputs[0]);
  Real* y = frame.tensor(op.outputs[0]);
  int rows = frame.count(op.outputs[0]), out = frame.cols(op.outputs[0]), in = frame.cols(op.inputs[0]);
  product(op, frame, x, rows, y);
  if (op.weights.size() < 4) return;
  int rank = static_cast<int>(frame.shape(op, 2).rows);
  std::vector<Real> inner(size_t(rows) * rank), added(size_t(rows) * out);
  naive_product<Real>(x, rows, frame.weight(op, 2), rank, in, nullptr, inner.data());
  naive_product<Real>(inner.data(), rows, frame.weight(op, 3), out, rank, nullptr, added.data());
  for (size_t i = 0; i < added.size(); i++)
    y[i] += static_cast<Real>(op.as<LinearSpec>().adapter_scale) * added[i];
}

template <class Real>
void norm(const Op& op, NaiveFrame<Real>& frame) {
  const NormSpec& spec = op.as<NormSpec>();
  const Real *scale = frame.weight(op, 0), *bias = frame.weight(op, 1);
  Real* side = frame.tensor(op.outputs[1]);
  int cols = frame.cols(op.outputs[0]), groups = cols / spec.size,
      side_cols = op.outputs[1] < 0 ? 0 : frame.cols(op.outputs[1]);
  for (int r = 0; r < frame.count(op.outputs[0]); r++) {
    for (int g = 0; g < groups; g++) {
      const Real* x = frame.tensor(op.inputs[0]) + size_t(r) * cols + g * spec.size;
      Real* y = frame.tensor(op.outputs[0]) + size_t(r) * cols + g * spec.size;
      double mean = 0, squares = 0;
      for (int j = 0; j < spec.size && spec.kind == NormKind::layer; j++) mean += x[j];
      mean /= spec.size;
      for (int j = 0; j < spec.size; j++) squares += (x[j] - mean) * (x[j] - mean);
      double inverse = spec.kind == NormKind::l2 ? 1 / std::sqrt(std::max(squares, 1e-24))
                                                 : 1 / std::sqrt(squares / spec.size + spec.eps);
      for (int j = 0; j < spec.size; j++) {
        y[j] = static_cast<Real>((x[j] - mean) * inverse * (scale ? scale[j] : 1) + (bias ? bias[j] : 0));
      }
      if (!side) continue;
      side[size_t(r) * side_cols + g] = static_cast<Real>(inverse);
      if (spec.kind == NormKind::layer) side[size_t(r) * side_cols + groups + g] = static_cast<Real>(mean);
    }
  }
}

template <class Real>
void activate(const Op& op, NaiveFrame<Real>& frame) {
  Activation kind = op.as<ActivateSpec>().activation;
  const Real* x = frame.tensor(op.inputs[0]);
  const Real* gate = op.inputs.size() > 1 ? frame.tensor(op.inputs[1]) : nullptr;
  Real* slope = op.outputs.size() > 1 ? frame.tensor(op.outputs[1]) : nullptr;
  for (size_t i = 0; i < frame.size(op.outputs[0]); i++) {
    Activated at = activated(kind, x[i]);
    double factor = gate ? gate[i] : 1;
    frame.tensor(op.outputs[0])[i] = static_cast<Real>(at.value * factor);
    if (slope) slope[i] = static_cast<Real>(at.slope);
  }
}

template <class Real>
void rotary(const Op& op, NaiveFrame<Real>& frame) {
  const RotarySpec& spec = op.as<RotarySpec>();
  const Rows& rows = frame.rows(op.outputs[0]);
  int cols = frame.cols(op.outputs[0]), half = static_cast<int>(spec.frequencies.size());
  const Real* x = frame.tensor(op.inputs[0]);
  Real* y = frame.tensor(op.outputs[0]);
  if (x != y) std::copy_n(x, frame.size(op.outputs[0]), y);
  for (int r = 0; r < rows.count; r++) {
    for (int head = 0; head < cols / spec.head_dim; head++) {
      Real* row = y + size_t(r) * cols + head * spec.head_dim;
      for (int j = 0; j < half; j++) {
        double angle = rows.pos[r] * spec.frequencies[j], a = row[j], b = row[j + half];
        row[j] = static_cast<Real>(a * std::cos(angle) - b * std::sin(angle));
        row[j + half] = static_cast<Real>(b * std::cos(angle) + a * std::sin(angle));
      }
    }
  }
}

template <class Real>
void remember(const Op& op, NaiveFrame<Real>& frame) {
  int slot = op.as<CacheSpec>().slot, cols = frame.cols(op.inputs[0]);
  const Rows& rows = frame.rows(op.inputs[0]);
  auto store = [&](std::vector<Real>& to, const Real* from, int row) {
    size_t at = size_t(rows.pos[row]) * cols;
    to.resize(std::max(to.size(), at + cols));
    std::copy_n(from + size_t(row) * cols, cols, to.begin() + at);
  };
  for (int r = 0; r < rows.count; r++) {
    NaiveCache<Real>& cache = frame.caches[frame.batch.caches[rows.seq[r]]];
    store(cache.keys[slot], frame.tensor(op.inputs[0]), r);
    store(cache.values[slot], frame.tensor(op.inputs[1]), r);
  }
}

template <class Real>
void add(const Op& op, NaiveFrame<Real>& frame) {
  const Real *x = frame.tensor(op.inputs[0]), *y = frame.tensor(op.inputs[1]), *gate = frame.weight(op, 0);
  int cols = frame.cols(op.outputs[0]);
  double opening = gate ? std::tanh(double{gate[0]}) : 1;
  for (int r = 0; r < frame.count(op.outputs[0]); r++) {
    double factor = op.indexes.empty() ? opening : opening * frame.batch.index(op.indexes[0])[r];
    for (size_t i = size_t(r) * cols; i < size_t(r + 1) * cols; i++) {
      frame.tensor(op.outputs[0])[i] = static_cast<Real>(x[i] + factor * y[i]);
    }
  }
}

template <class Real>
void dropout(const Op& op, NaiveFrame<Real>& frame) {
  double p = op.as<DropoutSpec>().p;
  uint32_t threshold = dropout_threshold(p);
  const Rows& rows = frame.rows(op.outputs[0]);
  int cols = frame.cols(op.outputs[0]);
  for (int r = 0; r < rows.count; r++) {
    DropoutRow state = dropout_row(frame.batch.seed, op.site, rows.key[r]);
    for (int c = 0; c < cols; c++) {
      size_t i = size_t(r) * cols + c;
      frame.tensor(op.outputs[0])[i] =
          dropout_hash(state, c) < threshold ? 0 : static_cast<Real>(frame.tensor(op.inputs[0])[i] / (1 - p));
    }
  }
}

template <class Real>
void mean(const Op& op, NaiveFrame<Real>& frame) {
  const Rows& rows = frame.rows(op.inputs[0]);
  int cols = frame.cols(op.outputs[0]);
  for (int s = 0; s < rows.sequences(); s++) {
    for (int c = 0; c < cols; c++) {
      double sum = 0;
      for (int r = rows.begin[s]; r < rows.begin[s + 1]; r++)
        sum += frame.tensor(op.inputs[0])[size_t(r) * cols + c];
      frame.tensor(op.outputs[0])[size_t(s) * cols + c] = static_cast<Real>(sum / rows.length(s));
    }
  }
}

template <class Real>
void leave(const Op& op, NaiveFrame<Real>& frame) {
  Real* y = frame.tensor(op.outputs[0]);
  size_t size = frame.size(op.outputs[0]);
  int cols = frame.cols(op.outputs[0]);
  std::copy_n(frame.tensor(op.inputs[0]), size, y);
  frame.all_reduce({y, size});
  if (const Real* bias = frame.weight(op, 0)) {
    for (size_t i = 0; i < size; i++) y[i] += bias[i % cols];
  }
}

}  // namespace

template <class Real>
void naive_forward(const Op& op, NaiveFrame<Real>& frame) {
  int y = op.outputs[0];
  switch (op.kind) {
    case Kind::input: {
      auto values = frame.batch.input(y);
      std::copy(values.begin(), values.end(), frame.tensor(y));
      return;
    }
    case Kind::embed: return embed(op, frame);
    case Kind::linear: return linear(op, frame);
    case Kind::norm: return norm(op, frame);
    case Kind::activate: return activate(op, frame);
    case Kind::rotary: return rotary(op, frame);
    case Kind::remember: return remember(op, frame);
    case Kind::attend: return naive_attend(op, frame);
    case Kind::add: return add(op, frame);
    case Kind::scale:
      for (size_t i = 0; i < frame.size(y); i++) {
        frame.tensor(y)[i] = static_cast<Real>(frame.tensor(op.inputs[0])[i] * op.as<ScaleSpec>().factor);
      }
      return;
    case Kind::dropout: return dropout(op, frame);
    case Kind::rows:
      for (int r = 0; r < frame.count(y); r++) {
        int cols = frame.cols(y), from = frame.batch.index(op.indexes[0])[r];
        std::copy_n(frame.tensor(op.inputs[0]) + size_t(from) * cols, cols,
                    frame.tensor(y) + size_t(r) * cols);
      }
      return;
    case Kind::mean: return mean(op, frame);
    case Kind::cross_entropy:
    case Kind::contrastive: return naive_loss(op, frame);
    case Kind::enter: std::copy_n(frame.tensor(op.inputs[0]), frame.size(y), frame.tensor(y)); return;
    case Kind::leave: return leave(op, frame);
  }
}

template void naive_forward(const Op&, NaiveFrame<float>&);
template void naive_forward(const Op&, NaiveFrame<double>&);

}  // namespace textmill::nn
