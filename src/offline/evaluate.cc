#include "offline/evaluate.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/spelling.h"
#include "offline/batches.h"
#include "tasks/scores.h"

namespace textmill::offline {
namespace {

int label_id(const std::vector<std::string>& labels, const std::string& label, const std::string& where) {
  auto found = std::find(labels.begin(), labels.end(), label);
  if (found != labels.end()) return static_cast<int>(found - labels.begin());
  std::vector<std::string_view> names(labels.begin(), labels.end());
  throw base::Error(base::Kind::invalid, fmt::format("{}: label '{}' is not one of the model's {}{}", where,
                                                     label, labels.size(), base::did_you_mean(label, names)));
}

}  // namespace

format::Json evaluate(const EvaluateOptions& options, std::stop_token stop) {
  tasks::Classifier classifier(options.model, options.classifier);
  log_choices(classifier);
  data::DatasetReader reader(options.data, options.columns);
  const auto& labels = classifier.labels();
  std::optional<int> positive;
  if (options.positive) positive = label_id(labels, *options.positive, "--positive");
  tasks::Scores scores(static_cast<int>(labels.size()), positive);
  answer_rows(
      classifier, reader, std::move(stop),
      [&](const data::Example& row) { label_id(labels, *row.label, reader.where()); },
      [&](const Answered& row) { scores.add(label_id(labels, *row.example.label, ""), row.logits); });
  return tasks::to_json(scores, labels);
}

}  // namespace textmill::offline
