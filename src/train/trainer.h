#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <stop_token>
#include <vector>

#include "nn/kernel/pool.h"
#include "tasks/engine.h"
#include "tasks/packed.h"
#include "train/adamw.h"
#include "train/examples.h"
#include "train/options.h"
#include "train/plan.h"

namespace textmill::train {

/// What a step did.
struct StepResult {
  double loss = 0;           // mean over its rows
  double gradient_norm = 0;  // before clipping
};

/// A classifier in training: plan, engine and optimizer. A step is a function of the weights, the rows, the seed and
/// the step's number alone.
class Trainer {
 public:
  /// The weights of the plan are the master copies, f32; they are trained in place. They and `pool` must
  /// outlive it.
  Trainer(TrainingPlan plan, const TrainOptions& options, nn::kernel::Pool& pool);
  Trainer(const Trainer&) = delete;

  /// Step `step` (from 0) over these rows, in micro-batches of batch_size. Nothing if `stop` was asked before all of
  /// them had run; then the weights are as before, and the trainer is not to be used again but to save(). Throws invalid
  /// if the loss is not finite.
  std::optional<StepResult> step(const Examples& examples, std::span<const uint32_t> rows, int64_t step,
                                 double learning_rate, std::stop_token stop);

  /// Weights and moments are as if every step had touched all of them.
  void settle() { adamw_.settle(); }
  int64_t steps() const { return adamw_.steps(); }
  /// After the model's weights and the moments were loaded.
  void restore(int64_t steps) { adamw_.restore(steps); }

  /// A trained weight's moments, by its place here.
  std::span<nn::Weight* const> trained() const { return trained_; }
  std::span<float> first_moment(size_t i) { return adamw_.first_moment(i); }
  std::span<float> second_moment(size_t i) { return adamw_.second_moment(i); }

 private:
  std::vector<Parameter> parameters();
  std::optional<double> run(const Examples& examples, std::span<const uint32_t> rows, uint64_t seed,
                            double row_weight, const std::stop_token& stop);

  TrainOptions options_;
  TrainingPlan plan_;
  tasks::Engine engine_;
  std::vector<nn::Weight*> trained_;
  std::vector<size_t> by_rows_;  // places in trained_
  AdamW adamw_;
  tasks::PackedBatch batch_;
  std::vector<int32_t> labels_, words_;
};

}  // namespace textmill::train
