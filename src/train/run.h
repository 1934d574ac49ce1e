#pragma once

#include <stop_token>

#include "base/files.h"
#include "train/options.h"

namespace textmill::train {

struct TrainPaths {
  base::Path model;              // to start from: a Hugging Face folder, or a model.tar.gz of one
  base::Path train, validation;  // data sets; validation may be empty
  base::Path output;             // the model, README.md, run.json, metrics.jsonl
  base::Path checkpoints;        // empty: output/checkpoints
};

enum class Outcome {
  finished,
  stopped,  // asked to; a checkpoint was written, --resume continues
};

/// Fine-tunes a model. Progress goes to stderr. Throws in_use if another run holds the output folder, exists if it holds
/// checkpoints and options.resume is not set, limit if training cannot fit into memory, invalid for what is wrong with
/// options, model or data (naming file, line, member).
Outcome train(const TrainPaths& paths, const TrainOptions& options, std::stop_token stop);

}  // namespace textmill::train
