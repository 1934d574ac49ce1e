#include <cmath>

#include "nn/naive_ops.h"

namespace textmill::nn {
namespace {

double log_sum_exp(const std::vector<double>& scores) {
  double highest = *std::max_element(scores.begin(), scores.end()), total = 0;
  for (double score : scores) total += std::exp(score - highest);
  return highest + std::log(total);
}

/// Row r of a loss: its scores, its label (below 0: none), its weight.
template <class Real>
std::vector<double> scores(const Op& op, const NaiveFrame<Real>& frame, int r) {
  int cols = frame.cols(op.inputs[0]);
  const Real* x = frame.tensor(op.inputs[0]) + size_t(r) * cols;
  if (op.kind == Kind::cross_entropy) return {x, x + cols};
  std::vector<double> scores;
  for (int row = 0; row < frame.count(op.inputs[1]); row++) {
    const Real* d = frame.tensor(op.inputs[1]) + size_t(row) * cols;
    double sum = 0;
    for (int c = 0; c < cols; c++) sum += static_cast<double>(x[c]) * d[c];
    scores.push_back(op.as<ScaleSpec>().factor * sum);
  }
  return scores;
}

template <class Real>
double row_weight(const Op& op, const NaiveFrame<Real>& frame, int r) {
  bool ignored = frame.batch.index(op.indexes[0])[r] < 0;
  return ignored ? 0 : frame.tensor(op.inputs.back())[r];
}

}  // namespace

template <class Real>
void naive_loss(const Op& op, NaiveFrame<Real>& frame) {
  for (int r = 0; r < frame.count(op.outputs[0]); r++) {
    std::vector<double> x = scores(op, frame, r);
    double log_sum = log_sum_exp(x), weight = row_weight(op, frame, r);
    int label = std::max(frame.batch.index(op.indexes[0])[r], 0);
    frame.tensor(op.outputs[0])[r] = static_cast<Real>(weight * (log_sum - x[label]));
    if (Real* side = frame.tensor(op.outputs[1])) side[r] = static_cast<Real>(log_sum);
  }
}

template <class Real>
void naive_loss_backward(const NaiveGradients<Real>& to) {
  const auto& [frame, step] = to;
  const Op& op = step.op;
  bool contrastive = op.kind == Kind::contrastive;
  int cols = frame.cols(op.inputs[0]);
  Real *dq = contrastive ? to.cleared(0) : nullptr, *dd = contrastive ? to.cleared(1) : nullptr;
  for (int r = 0; r < frame.count(op.outputs[0]); r++) {
    std::vector<double> x = scores(op, frame, r);
    double log_sum = frame.tensor(op.outputs[1])[r], weight = row_weight(op, frame, r);
    int label = frame.batch.index(op.indexes[0])[r];
    for (int j = 0; j < static_cast<int>(x.size()); j++) {
      double d = weight * (std::exp(x[j] - log_sum) - (j == label));
      if (!contrastive) {
        to.put(0, size_t(r) * cols + j, static_cast<Real>(d));
        continue;
      }
      const Real *q = frame.tensor(op.inputs[0]) + size_t(r) * cols,
                 *doc = frame.tensor(op.inputs[1]) + size_t(j) * cols;
      d *= op.as<ScaleSpec>().factor;
      for (int c = 0; c < cols; c++) {
        if (dq) dq[size_t(r) * cols + c] += static_cast<Real>(d * doc[c]);
        if (dd) dd[size_t(j) * cols + c] += static_cast<Real>(d * q[c]);
      }
    }
  }
}

/// One row at a time, so that there are never more logits than one row's.
template <class Real>
void naive_head(const Step& step, NaiveFrame<Real>& frame) {
  NaiveGradients<Real> to(frame, step);
  const Op& op = step.op;
  int in = frame.cols(op.inputs[0]), out = static_cast<int>(frame.shape(op, 0).rows);
  Real* dx = to.cleared(0);
  std::vector<Real> logits(out);
  for (int r = 0; r < frame.count(op.inputs[0]); r++) {
    const Real* x = frame.tensor(op.inputs[0]) + size_t(r) * in;
    naive_product(x, 1, frame.weight(op, 0), out, in, frame.weight(op, 1), logits.data());
    double log_sum = log_sum_exp({logits.begin(), logits.end()}), weight = row_weight(step.loss_op, frame, r);
    int label = frame.batch.index(step.loss_op.indexes[0])[r];
    frame.tensor(step.loss_op.outputs[0])[r] =
        static_cast<Real>(weight * (log_sum - logits[std::max(label, 0)]));
    for (int j = 0; j < out; j++) {
      logits[j] = static_cast<Real>(weight * (std::exp(logits[j] - log_sum) - (j == label)));
    }
    if (dx) naive_product_dx(logits.data(), 1, frame.weight(op, 0), out, in, 1, dx + size_t(r) * in);
    if (Real* dw = to.weight(0)) naive_product_dw(logits.data(), x, 1, out, in, 1, dw);
    if (Real* db = to.weight(1)) naive_sum_rows(logits.data(), 1, out, db);
  }
}

template void naive_loss(const Op&, NaiveFrame<float>&);
template void naive_loss(const Op&, NaiveFrame<double>&);
template void naive_loss_backward(const NaiveGradients<float>&);
template void naive_loss_backward(const NaiveGradients<double>&);
template void naive_head(const Step&, NaiveFrame<float>&);
template void naive_head(const Step&, NaiveFrame<double>&);

}  // namespace textmill::nn
