#pragma once

#include <span>
#include <vector>

#include "models/bert.h"
#include "nn/kernel/pool.h"
#include "tasks/engine.h"
#include "tasks/packed.h"

namespace textmill::tasks {

/// A classifier's forward pass, planned once. One thread at a time.
class Inference {
 public:
  /// `model` and `pool` must outlive it.
  Inference(models::TextClassifier& model, nn::Format format, nn::kernel::Pool& pool);
  Inference(const Inference&) = delete;

  /// After the weights changed.
  void refresh() { engine_.refresh(); }
  /// [sequences, labels], valid until the next run.
  std::span<const float> run(PackedBatch& batch);

  const nn::Plan& plan() const { return plan_; }
  const models::EncoderInputs& inputs() const { return inputs_; }

 private:
  Inference(models::ClassifierRecording recording, nn::Format format, nn::kernel::Pool& pool);

  models::EncoderInputs inputs_;
  nn::Plan plan_;
  Engine engine_;
};

}  // namespace textmill::tasks
