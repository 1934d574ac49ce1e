#pragma once

#include <span>
#include <vector>

#include "models/bert.h"
#include "nn/kernel/pool.h"
#include "tasks/engine.h"
#include "tasks/packed.h"

namespace textmill::tasks {

/// An encoder's forward pass, planned once. One thread at a time.
class Inference {
 public:
  /// The recorded model and `pool` must outlive it.
  Inference(models::TextClassifier& model, nn::Format format, nn::kernel::Pool& pool);
  Inference(models::EncoderRecording recording, nn::Format format, nn::kernel::Pool& pool,
            const nn::PackedCache* cache = nullptr);
  Inference(const Inference&) = delete;

  /// After the weights changed.
  void refresh() { engine_.refresh(); }
  /// Output 0 of the recording, [sequences, labels or hidden], valid until the next run. `states`: of a recording that begins
  /// between layers.
  std::span<const float> run(PackedBatch& batch, std::span<const float> states = {});
  /// Output 1 of one that keeps states.
  std::span<const float> kept() const { return engine_.output(1); }

  const nn::Plan& plan() const { return plan_; }
  const models::EncoderInputs& inputs() const { return inputs_; }

 private:
  models::EncoderInputs inputs_;
  nn::Plan plan_;
  Engine engine_;
};

}  // namespace textmill::tasks
