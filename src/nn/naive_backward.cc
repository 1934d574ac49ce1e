#include <cmath>

#include "nn/activation.h"
#include "nn/dropout.h"
#include "nn/naive_ops.h"

namespace textmill::nn {
namespace {

template <class Real>
using Gradients = NaiveGradients<Real>;

template <class Real>
void embed(const Gradients<Real>& to, const Real* dy) {
  const auto& [frame, step] = to;
  const Op& op = step.op;
  int cols = frame.cols(op.outputs[0]);
  for (size_t k = 0; k < op.weights.size(); k++) {
    Real* table = to.weight(k);
    for (int r = 0; table && r < frame.count(op.outputs[0]); r++) {
      Real* row = table + size_t(frame.batch.index(op.indexes[k])[r]) * cols;
      for (int c = 0; c < cols; c++) row[c] += dy[size_t(r) * cols + c];
    }
  }
}

template <class Real>
void linear(const Gradients<Real>& to, const Real* dy) {
  const auto& [frame, step] = to;
  const Op& op = step.op;
  const Real* x = frame.tensor(op.inputs[0]);
  int rows = frame.count(op.outputs[0]), out = frame.cols(op.outputs[0]), in = frame.cols(op.inputs[0]);
  Real* dx = to.cleared(0);
  if (dx) naive_product_dx(dy, rows, frame.weight(op, 0), out, in, 1, dx);
  if (Real* dw = to.weight(0)) naive_product_dw(dy, x, rows, out, in, 1, dw);
  if (Real* db = to.weight(1)) naive_sum_rows(dy, rows, out, db);
  if (op.weights.size() < 4) return;
  double scale = op.as<LinearSpec>().adapter_scale;
  int rank = static_cast<int>(frame.shape(op, 2).rows);
  std::vector<Real> inner(size_t(rows) * rank), d_inner(inner.size());
  naive_product<Real>(x, rows, frame.weight(op, 2), rank, in, nullptr, inner.data());
  naive_product_dx(dy, rows, frame.weight(op, 3), out, rank, scale, d_inner.data());
  if (Real* db = to.weight(3)) naive_product_dw(dy, inner.data(), rows, out, rank, scale, db);
  if (Real* da = to.weight(2)) naive_product_dw(d_inner.data(), x, rows, rank, in, 1, da);
  if (dx) naive_product_dx(d_inner.data(), rows, frame.weight(op, 2), rank, in, 1, dx);
}

/// dx = 1/std · (g - mean(g) - x̂ · mean(g · x̂)), g = dy · scale; rms and l2 have no mean(g), l2 sums where
/// they average.
template <class Real>
void norm(const Gradients<Real>& to, const Real* dy) {
  const auto& [frame, step] = to;
  const Op& op = step.op;
  const NormSpec& spec = op.as<NormSpec>();
  const Real *scale = frame.weight(op, 0), *x = frame.tensor(op.inputs[0]),
             *side = frame.tensor(op.outputs[1]);
  Real *dx = to.cleared(0), *d_scale = to.weight(0), *d_bias = to.weight(1);
  int cols = frame.cols(op.inputs[0]), groups = cols / spec.size, side_cols = frame.cols(op.outputs[1]);
  double divisor = spec.kind == NormKind::l2 ? 1 : spec.size;
  for (int r = 0; r < frame.count(op.inputs[0]); r++) {
    for (int g = 0; g < groups; g++) {
      size_t at = size_t(r) * cols + g * spec.size;
      double inverse = side[size_t(r) * side_cols + g], sum = 0, product = 0;
      double mean = spec.kind == NormKind::layer ? side[size_t(r) * side_cols + groups + g] : 0;
      auto hat = [&](int j) { return (x[at + j] - mean) * inverse; };
      auto through = [&](int j) { return dy[at + j] * (scale ? double{scale[j]} : 1); };
      for (int j = 0; j < spec.size; j++) {
        if (spec.kind == NormKind::layer) sum += through(j);
        product += through(j) * hat(j);
        if (d_scale) d_scale[j] += static_cast<Real>(dy[at + j] * hat(j));
        if (d_bias) d_bias[j] += dy[at + j];
      }
      for (int j = 0; dx && j < spec.size; j++) {
        dx[at + j] += static_cast<Real>(inverse * (through(j) - sum / divisor - hat(j) * product / divisor));
      }
    }
  }
}

template <class Real>
void activate(const Gradients<Real>& to, const Real* dy) {
  const auto& [frame, step] = to;
  const Op& op = step.op;
  Activation kind = op.as<ActivateSpec>().activation;
  const Real* slope = op.outputs.size() > 1 ? frame.tensor(op.outputs[1]) : nullptr;
  const Real* x = slope ? nullptr : frame.tensor(op.inputs[0]);
  const Real* gate = op.inputs.size() > 1 ? frame.tensor(op.inputs[1]) : nullptr;
  for (size_t i = 0; i < frame.size(op.outputs[0]); i++) {
    Activated at = slope ? Activated{0, slope[i]} : activated(kind, x[i]);
    double d = dy[i], factor = gate ? gate[i] : 1;
    to.put(0, i, static_cast<Real>(d * at.slope * factor));
    if (gate) to.put(1, i, static_cast<Real>(d * at.value));
  }
}

/// The rotation by the opposite angle.
template <class Real>
void rotary(const Gradients<Real>& to, const Real* dy) {
  const auto& [frame, step] = to;
  const RotarySpec& spec = step.op.template as<RotarySpec>();
  const Rows& rows = frame.rows(step.op.outputs[0]);
  int cols = frame.cols(step.op.outputs[0]), half = static_cast<int>(spec.frequencies.size());
  for (int r = 0; r < rows.count; r++) {
    for (int head = 0; head < cols / spec.head_dim; head++) {
      size_t at = size_t(r) * cols + head * spec.head_dim;
      for (int j = 0; j < half; j++) {
        double angle = rows.pos[r] * spec.frequencies[j], a = dy[at + j], b = dy[at + j + half];
        to.put(0, at + j, static_cast<Real>(a * std::cos(angle) + b * std::sin(angle)));
        to.put(0, at + j + half, static_cast<Real>(b * std::cos(angle) - a * std::sin(angle)));
      }
      for (int j = 2 * half; j < spec.head_dim; j++) to.put(0, at + j, dy[at + j]);
    }
  }
}

template <class Real>
void add(const Gradients<Real>& to, const Real* dy) {
  const auto& [frame, step] = to;
  const Op& op = step.op;
  const Real* gate = frame.weight(op, 0);
  Real* d_gate = to.weight(0);
  const Real* y = d_gate ? frame.tensor(op.inputs[1]) : nullptr;
  double opening = gate ? std::tanh(double{gate[0]}) : 1, sum = 0;
  int cols = frame.cols(op.outputs[0]);
  for (int r = 0; r < frame.count(op.outputs[0]); r++) {
    double mask = op.indexes.empty() ? 1 : frame.batch.index(op.indexes[0])[r];
    for (size_t i = size_t(r) * cols; i < size_t(r + 1) * cols; i++) {
      Real d = dy[i];
      if (d_gate) sum += d * mask * y[i];
      to.put(0, i, d);
      to.put(1, i, static_cast<Real>(d * opening * mask));
    }
  }
  if (d_gate) d_gate[0] += static_cast<Real>(sum * (1 - opening * opening));
}

template <class Real>
void dropout(const Gradients<Real>& to, const Real* dy) {
  const auto& [frame, step] = to;
  double p = step.op.template as<DropoutSpec>().p;
  uint32_t threshold = dropout_threshold(p);
  const Rows& rows = frame.rows(step.op.outputs[0]);
  int cols = frame.cols(step.op.outputs[0]);
  for (int r = 0; r < rows.count; r++) {
    DropoutRow state = dropout_row(frame.batch.seed, step.op.site, rows.key[r]);
    for (int c = 0; c < cols; c++) {
      size_t i = size_t(r) * cols + c;
      to.put(0, i, dropout_hash(state, c) < threshold ? 0 : static_cast<Real>(dy[i] / (1 - p)));
    }
  }
}

template <class Real>
void rows(const Gradients<Real>& to, const Real* dy) {
  const auto& [frame, step] = to;
  Real* dx = to.cleared(0);
  int cols = frame.cols(step.op.outputs[0]);
  for (int r = 0; r < frame.count(step.op.outputs[0]); r++) {
    Real* row = dx + size_t(frame.batch.index(step.op.indexes[0])[r]) * cols;
    for (int c = 0; c < cols; c++) row[c] += dy[size_t(r) * cols + c];
  }
}

template <class Real>
void mean(const Gradients<Real>& to, const Real* dy) {
  const auto& [frame, step] = to;
  const Rows& rows = frame.rows(step.op.inputs[0]);
  int cols = frame.cols(step.op.outputs[0]);
  for (int r = 0; r < rows.count; r++) {
    for (int c = 0; c < cols; c++) {
      double d = dy[size_t(rows.seq[r]) * cols + c];
      to.put(0, size_t(r) * cols + c, static_cast<Real>(d / rows.length(rows.seq[r])));
    }
  }
}

/// Where a tensor enters split products, the gradient is the sum over the ranks.
template <class Real>
void enter(const Gradients<Real>& to, const Real* dy) {
  const auto& [frame, step] = to;
  std::vector<Real> sum(dy, dy + frame.size(step.op.outputs[0]));
  frame.all_reduce(sum);
  for (size_t i = 0; i < sum.size(); i++) to.put(0, i, sum[i]);
}

template <class Real>
void leave(const Gradients<Real>& to, const Real* dy) {
  const auto& [frame, step] = to;
  int y = step.op.outputs[0];
  for (size_t i = 0; i < frame.size(y); i++) to.put(0, i, dy[i]);
  if (Real* d_bias = to.weight(0)) naive_sum_rows(dy, frame.count(y), frame.cols(y), d_bias);
}

}  // namespace

template <class Real>
void naive_backward(const Step& step, NaiveFrame<Real>& frame) {
  NaiveGradients<Real> to(frame, step);
  const Real* dy = frame.tensor(step.d_output);
  switch (step.op.kind) {
    case Kind::embed: return embed(to, dy);
    case Kind::linear: return linear(to, dy);
    case Kind::norm: return norm(to, dy);
    case Kind::activate: return activate(to, dy);
    case Kind::rotary: return rotary(to, dy);
    case Kind::attend: return naive_attend_backward(to);
    case Kind::add: return add(to, dy);
    case Kind::scale:
      for (size_t i = 0; i < frame.size(step.op.outputs[0]); i++) {
        to.put(0, i, static_cast<Real>(dy[i] * step.op.as<ScaleSpec>().factor));
      }
      return;
    case Kind::dropout: return dropout(to, dy);
    case Kind::rows: return rows(to, dy);
    case Kind::mean: return mean(to, dy);
    case Kind::cross_entropy:
    case Kind::contrastive: return naive_loss_backward(to);
    case Kind::enter: return enter(to, dy);
    case Kind::leave: return leave(to, dy);
    case Kind::input:
    case Kind::remember: return;  // nothing behind them trains
  }
}

template void naive_backward(const Step&, NaiveFrame<float>&);
template void naive_backward(const Step&, NaiveFrame<double>&);

}  // namespace textmill::nn
