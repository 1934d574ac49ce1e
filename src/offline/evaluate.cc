#include "offline/evaluate.h"

#include "base/error.h"
#include "offline/batches.h"
#include "tasks/scores.h"

namespace textmill::offline {

format::Json evaluate(const EvaluateOptions& options, std::stop_token stop) {
  tasks::Encoder encoder(options.model, options.encoder);
  encoder.folder().require_head();
  if (encoder.folder().score_function() != tasks::ScoreFunction::softmax) {
    throw base::Error(base::Kind::invalid,
                      options.model.string() +
                          ": a regression or multi-label model; only those that choose one label are scored");
  }
  log_choices(encoder);
  data::DatasetReader reader(options.data, options.columns, true, data::Inputs::texts_or_ids);
  const auto& labels = encoder.folder().labels();
  std::optional<int> positive;
  if (options.positive) positive = label_id(labels, *options.positive, "--positive");
  tasks::Scores scores(static_cast<int>(labels.size()), positive);
  answer_rows(
      encoder, reader, std::move(stop),
      [&](const data::Example& row) { label_id(labels, *row.label, reader.where()); },
      [&](const Answered& row) { scores.add(label_id(labels, *row.example.label, ""), row.outputs); });
  return tasks::to_json(scores, labels);
}

}  // namespace textmill::offline
