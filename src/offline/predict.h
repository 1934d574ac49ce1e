#pragma once

#include <functional>
#include <optional>
#include <stop_token>
#include <string>

#include "data/schema.h"
#include "tasks/encoder.h"

namespace textmill::offline {

struct PredictOptions {
  base::Path model;
  base::Path data;                  // a data set, its labels ignored; or else
  std::string text;                 // one text,
  std::optional<std::string> pair;  // and what it is paired with
  data::Columns columns;            // of the data; empty ones are guessed
  tasks::EncoderOptions encoder;
};

/// What the model says about each row, in order: calls line(`{"label": "...", "score": 0.99}`) with the best label, or of
/// a bare encoder line(`[0.1, ...]`) with the embedding. Throws as evaluate does.
void predict(const PredictOptions& options, std::stop_token stop,
             const std::function<void(const std::string&)>& line);

}  // namespace textmill::offline
