#pragma once

#include "models/bert.h"
#include "nn/plan.h"
#include "train/examples.h"
#include "train/options.h"

namespace textmill::train {

/// A classifier's forward and backward pass.
struct TrainingPlan {
  models::EncoderInputs inputs;
  nn::Plan plan;
};
TrainingPlan make_training_plan(models::TextClassifier& model, nn::Format format);

/// Throws limit if micro-batches of the longest examples need more than `available` bytes: says what they need, and the
/// batch size that would fit.
void check_memory(const TrainingPlan& plan, const Examples& examples, const TrainOptions& options,
                  int64_t available);

}  // namespace textmill::train
