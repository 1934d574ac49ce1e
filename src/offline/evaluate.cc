#include "offline/evaluate.h"

#include <algorithm>

#include "base/error.h"
#include "offline/batches.h"
#include "offline/search_rows.h"
#include "tasks/columns.h"
#include "tasks/paired.h"
#include "tasks/scores.h"

namespace textmill::offline {
namespace {

constexpr size_t kPairs = 64;  // of a batch

/// Spearman's rank correlation of the cosines of pairs with what people said about them.
format::Json evaluate_pairs(tasks::Encoder& encoder, const EvaluateOptions& options,
                            const std::stop_token& stop) {
  if (options.positive) {
    throw base::Error(base::Kind::invalid,
                      "--positive: " + options.model.string() + " has no classification head, so no labels");
  }
  auto rows = read_rows(options.data, options.columns, options.encoder.max_length, encoder.folder());
  std::vector<double> said, cosines;
  std::vector<const tasks::PackedItem*> batch;
  std::vector<float> outputs;
  auto width = static_cast<size_t>(encoder.width());
  for (size_t first = 0; first < rows.size(); first += kPairs) {
    if (stop.stop_requested()) throw base::Error(base::Kind::cancelled, "stopped");
    batch.clear();
    for (size_t i = first; i < std::min(first + kPairs, rows.size()); i++) {
      said.push_back(rows[i].target);
      for (const tasks::PackedItem& text : rows[i].texts) batch.push_back(&text);
    }
    encoder.run(batch, outputs);
    if (!tasks::is_finite(outputs))
      throw base::Error(base::Kind::internal, "the model's outputs are not finite");
    for (auto pair = std::span<const float>(outputs); !pair.empty(); pair = pair.subspan(2 * width))
      cosines.push_back(tasks::cosine(pair.first(width), pair.subspan(width, width)));
  }
  return format::Json::object({{"spearman", tasks::spearman(said, cosines)}, {"count", said.size()}});
}

}  // namespace

format::Json evaluate(const EvaluateOptions& options, std::stop_token stop) {
  tasks::Encoder encoder(options.model, options.encoder);
  log_choices(encoder);
  if (encoder.embeds()) return evaluate_pairs(encoder, options, stop);
  if (encoder.folder().score_function() != tasks::ScoreFunction::softmax) {
    throw base::Error(base::Kind::invalid,
                      options.model.string() +
                          ": a regression or multi-label model; only those that choose one label are scored");
  }
  data::DatasetReader reader(options.data, tasks::columns_for(encoder.folder().folder(), options.columns),
                             true, data::Inputs::texts_or_ids);
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
