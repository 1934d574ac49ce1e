#include "nn/naive.h"

#include <limits>
#include <type_traits>

#include "base/error.h"
#include "nn/naive_ops.h"

namespace textmill::nn {

template <class Real>
Naive<Real>::Naive(const Plan& plan, bool arena)
    : plan_(plan),
      arena_(arena),
      own_(plan.recording.tensors.size()),
      tensors_(own_.size()),
      counts_(own_.size()) {
  weights_.resize(plan.recording.weights.size());
  gradients_.resize(weights_.size());
  for (size_t w = 0; w < weights_.size(); w++) {
    const WeightUse& use = plan.uses[w];
    bool used = use.product || use.transposed || use.gathered || use.vector;
    if (used) weights_[w].resize(plan.recording.weights[w]->count());
    if (use.trained) gradients_[w].resize(weights_[w].size());
  }
  refresh();
}

template <class Real>
void Naive<Real>::refresh() {
  for (size_t w = 0; w < weights_.size(); w++) {
    const Weight& weight = *plan_.recording.weights[w];
    if (weights_[w].empty() || !weight.has_values()) continue;
    std::vector<float> values(weight.count());
    weight.read(0, weight.rows, values.data());
    std::copy(values.begin(), values.end(), weights_[w].begin());
    bool in_8_bits = std::is_same_v<Real, float> && weight.dtype() == Dtype::i8 && plan_.uses[w].product;
    if (in_8_bits) quantized_[static_cast<int>(w)] = held_in_8_bits(weight);
  }
}

template <class Real>
void Naive<Real>::clear_gradients() {
  for (auto& gradient : gradients_) std::fill(gradient.begin(), gradient.end(), Real{0});
}

/// Pointers to all tensors that some step touches; all memory is NaN.
template <class Real>
void Naive<Real>::place(const Batch& batch) {
  constexpr Real kUnwritten = std::numeric_limits<Real>::quiet_NaN();
  const Recording& recording = plan_.recording;
  plan_.assign(batch, layout_, sizeof(Real));
  memory_.assign(arena_ ? layout_.bytes / sizeof(Real) : 0, kUnwritten);
  for (size_t t = 0; t < tensors_.size(); t++) {
    counts_[t] =
        static_cast<size_t>(batch.rows(recording.tensors[t].space).count) * recording.tensors[t].cols;
    bool in_arena = arena_ && layout_.offset[t] != Layout::kNowhere;
    int buffer = plan_.buffer[t];
    bool shares = !arena_ && buffer != static_cast<int>(t);
    own_[t].assign(in_arena || shares ? 0 : counts_[t], kUnwritten);
    tensors_[t] = in_arena ? memory_.data() + layout_.offset[t] / sizeof(Real) : own_[t].data();
  }
  for (size_t t = 0; t < tensors_.size(); t++) tensors_[t] = tensors_[plan_.buffer[t]];
}

template <class Real>
void Naive<Real>::run(const Batch& batch, const RootLossOf<Real>& root_loss) {
  place(batch);
  NaiveFrame<Real> frame{plan_.recording, batch,      tensors_, weights_,
                         gradients_,      quantized_, *caches,  all_reduce};
  for (const Step& step : plan_.steps) {
    switch (step.phase) {
      case Phase::forward: naive_forward(step.op, frame); break;
      case Phase::backward: naive_backward(step, frame); break;
      case Phase::head: naive_head(step, frame); break;
      case Phase::loss: {
        TEXTMILL_CHECK(root_loss);
        std::vector<RootRows<Real>> roots;
        for (size_t i = 0; i < step.reads.size(); i++) {
          int output = step.reads[i];
          roots.push_back({frame.tensor(output), frame.tensor(step.d_inputs[i]), frame.count(output),
                           frame.cols(output)});
        }
        root_loss(roots);
        break;
      }
    }
  }
}

template <class Real>
std::span<const Real> Naive<Real>::output(int i) const {
  int tensor = plan_.recording.outputs[i];
  return {tensors_[tensor], counts_[tensor]};
}

template <class Real>
double Naive<Real>::loss() const {
  double sum = 0;
  for (int tensor : plan_.recording.losses) {
    for (size_t r = 0; r < counts_[tensor]; r++) sum += tensors_[tensor][r];
  }
  return sum;
}

template class Naive<float>;
template class Naive<double>;

}  // namespace textmill::nn
