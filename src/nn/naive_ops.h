#pragma once

#include <algorithm>
#include <functional>
#include <span>
#include <vector>

#include "nn/naive.h"

namespace textmill::nn {

/// What the loops of the naive executor work on. Pointers of tensors that have no memory are null.
template <class Real>
struct NaiveFrame {
  const Recording& recording;
  const Batch& batch;
  std::vector<Real*>& tensors;
  std::vector<std::vector<Real>>& weights;
  std::vector<std::vector<Real>>& gradients;
  const std::map<int, QuantizedWeight>& quantized;
  NaiveCaches<Real>& caches;
  const std::function<void(std::span<Real>)>& all_reduce;

  Real* tensor(int id) const { return id < 0 ? nullptr : tensors[id]; }
  int cols(int id) const { return recording.tensors[id].cols; }
  const Rows& rows(int id) const { return batch.rows(recording.tensors[id].space); }
  int count(int id) const { return rows(id).count; }
  size_t size(int id) const { return static_cast<size_t>(count(id)) * cols(id); }
  const Real* weight(const Op& op, size_t k) const {
    return k < op.weights.size() && op.weights[k] >= 0 ? weights[op.weights[k]].data() : nullptr;
  }
  const Weight& shape(const Op& op, size_t k) const { return *recording.weights[op.weights[k]]; }
};

/// One backward step's targets: null where nothing is to be written.
template <class Real>
struct NaiveGradients {
  NaiveGradients(const NaiveFrame<Real>& frame, const Step& step) : frame(frame), step(step) {}

  /// The gradient of input k, zeroed unless it accumulates: for operations that add up contributions.
  Real* cleared(size_t k) const {
    Real* gradient = input(k);
    if (gradient && !step.accumulates(k)) std::fill_n(gradient, frame.size(step.op.inputs[k]), Real{0});
    return gradient;
  }
  /// Element-wise operations write in place, so they may not clear first.
  void put(size_t k, size_t at, Real value) const {
    if (Real* gradient = input(k)) gradient[at] = step.accumulates(k) ? gradient[at] + value : value;
  }
  Real* input(size_t k) const {
    bool wanted = k < step.d_inputs.size() && step.d_inputs[k] >= 0 && !step.skips(k);
    return wanted ? frame.tensor(step.d_inputs[k]) : nullptr;
  }
  Real* weight(size_t k) const {
    return step.trains(k) ? frame.gradients[step.op.weights[k]].data() : nullptr;
  }

  const NaiveFrame<Real>& frame;
  const Step& step;
};

template <class Real>
void naive_forward(const Op& op, NaiveFrame<Real>& frame);
template <class Real>
void naive_backward(const Step& step, NaiveFrame<Real>& frame);

// In files of their own:
template <class Real>
void naive_attend(const Op& op, NaiveFrame<Real>& frame);
template <class Real>
void naive_attend_backward(const NaiveGradients<Real>& gradients);
template <class Real>
void naive_loss(const Op& op, NaiveFrame<Real>& frame);
template <class Real>
void naive_loss_backward(const NaiveGradients<Real>& gradients);
template <class Real>
void naive_head(const Step& step, NaiveFrame<Real>& frame);

/// y = x · Wᵀ (+ bias): x [rows, in], w [out, in].
template <class Real>
void naive_product(const Real* x, int rows, const Real* w, int out, int in, const Real* bias, Real* y) {
  for (int r = 0; r < rows; r++) {
    for (int o = 0; o < out; o++) {
      double sum = bias ? bias[o] : 0;
      for (int i = 0; i < in; i++) sum += static_cast<double>(x[size_t(r) * in + i]) * w[size_t(o) * in + i];
      y[size_t(r) * out + o] = static_cast<Real>(sum);
    }
  }
}

/// dx += scale · dy · W
template <class Real>
void naive_product_dx(const Real* dy, int rows, const Real* w, int out, int in, double scale, Real* dx) {
  for (int r = 0; r < rows; r++) {
    for (int i = 0; i < in; i++) {
      double sum = 0;
      for (int o = 0; o < out; o++)
        sum += static_cast<double>(dy[size_t(r) * out + o]) * w[size_t(o) * in + i];
      dx[size_t(r) * in + i] += static_cast<Real>(scale * sum);
    }
  }
}

/// dw += scale · dyᵀ · x
template <class Real>
void naive_product_dw(const Real* dy, const Real* x, int rows, int out, int in, double scale, Real* dw) {
  for (int o = 0; o < out; o++) {
    for (int i = 0; i < in; i++) {
      double sum = 0;
      for (int r = 0; r < rows; r++)
        sum += static_cast<double>(dy[size_t(r) * out + o]) * x[size_t(r) * in + i];
      dw[size_t(o) * in + i] += static_cast<Real>(scale * sum);
    }
  }
}

template <class Real>
void naive_sum_rows(const Real* dy, int rows, int cols, Real* sum) {
  for (int c = 0; c < cols; c++) {
    double total = 0;
    for (int r = 0; r < rows; r++) total += dy[size_t(r) * cols + c];
    sum[c] += static_cast<Real>(total);
  }
}

}  // namespace textmill::nn
