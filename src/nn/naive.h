#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "nn/batch.h"
#include "nn/plan.h"
#include "nn/quantized.h"

namespace textmill::nn {

/// What one sequence remembers: rows of keys and of values, by slot.
template <class Real>
struct NaiveCache {
  std::map<int, std::vector<Real>> keys, values;
};
/// By the numbers of Batch::caches.
template <class Real>
using NaiveCaches = std::map<int, NaiveCache<Real>>;

/// The twin of every engine: one plain loop per operation, step by step, in f32 (float) or f64 (double),
/// whatever the plan's formats. Reductions sum in f64. In f64 a weight in 8 bits is but its values.
template <class Real>
class Naive {
 public:
  /// With `arena` tensors lie where the plan says, and memory is filled with NaN before each run, so that a
  /// read of what was not written shows; without, each has memory of its own.
  explicit Naive(const Plan& plan, bool arena = true);

  void refresh();
  void run(const Batch& batch, const RootLossOf<Real>& root_loss = {});

  std::span<const Real> output(int i) const;
  double loss() const;
  std::span<Real> gradient(int weight) { return gradients_[weight]; }
  void clear_gradients();

  /// This executor's copy of a weight.
  std::span<Real> weight(int weight) { return weights_[weight]; }
  /// Tensor parallel: sums the span over the ranks, in place.
  std::function<void(std::span<Real>)> all_reduce;
  /// May be shared: an encoder's plan remembers what a decoder's recalls.
  std::shared_ptr<NaiveCaches<Real>> caches = std::make_shared<NaiveCaches<Real>>();

 private:
  void place(const Batch& batch);

  const Plan& plan_;
  bool arena_;
  Layout layout_;
  std::vector<Real> memory_;
  std::vector<std::vector<Real>> own_;  // tensors outside of the arena
  std::vector<Real*> tensors_;
  std::vector<std::vector<Real>> weights_, gradients_;
  std::map<int, QuantizedWeight> quantized_;  // by number: weights held in i8, whose products run in 8 bits
  std::vector<size_t> counts_;                // per tensor, in the last batch
};

}  // namespace textmill::nn
