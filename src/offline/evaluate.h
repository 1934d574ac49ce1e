#pragma once

#include <optional>
#include <stop_token>
#include <string>

#include "data/schema.h"
#include "format/json.h"
#include "tasks/encoder.h"

namespace textmill::offline {

struct EvaluateOptions {
  base::Path model, data;
  data::Columns columns;                // empty ones are guessed
  std::optional<std::string> positive;  // the label whose F1 is reported; by default id 1 of two
  tasks::EncoderOptions encoder;
};

/// Scores a model on labelled text: tasks::to_json(Scores). Of an embedder, on pairs whose label is how alike people find them:
/// {"spearman", "count"}. Throws invalid naming file and line: what the readers refuse,
/// a label that the model does not have; cancelled when `stop` is asked.
format::Json evaluate(const EvaluateOptions& options, std::stop_token stop);

}  // namespace textmill::offline
