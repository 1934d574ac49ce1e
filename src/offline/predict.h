#pragma once

#include <functional>
#include <optional>
#include <stop_token>
#include <string>

#include "data/schema.h"
#include "tasks/classifier.h"

namespace textmill::offline {

struct PredictOptions {
  base::Path model;
  base::Path data;                  // a data set, its labels ignored; or else
  std::string text;                 // one text,
  std::optional<std::string> pair;  // and what it is paired with
  data::Columns columns;            // of the data; empty ones are guessed
  tasks::ClassifierOptions classifier;
};

/// The best label of each row, in order: calls line(`{"label": "...", "score": 0.99}`). Throws as evaluate does.
void predict(const PredictOptions& options, std::stop_token stop,
             const std::function<void(const std::string&)>& line);

}  // namespace textmill::offline
