#include "tasks/inference.h"

namespace textmill::tasks {

Inference::Inference(models::TextClassifier& model, nn::Format format, nn::kernel::Pool& pool)
    : Inference(models::record_classifier(model, {}), format, pool) {}

Inference::Inference(models::EncoderRecording recording, nn::Format format, nn::kernel::Pool& pool,
                     const nn::PackedCache* cache)
    : inputs_(recording.inputs),
      plan_(nn::make_plan(std::move(recording.recording), plan_options(format))),
      engine_(plan_, pool, cache) {}

std::span<const float> Inference::run(PackedBatch& batch, std::span<const float> states) {
  engine_.run(batch.fill(inputs_, plan_.recording, 0, states));
  return engine_.output(0);
}

}  // namespace textmill::tasks
