#include "offline/predict.h"

#include <algorithm>

#include "offline/batches.h"

namespace textmill::offline {
namespace {

std::string best(const tasks::Classifier& classifier, std::span<const float> logits) {
  auto scores = tasks::scores(logits, classifier.score_function());
  auto largest = std::max_element(scores.begin(), scores.end());
  return format::to_text(
      format::Json::object({{"label", classifier.labels()[largest - scores.begin()]}, {"score", *largest}}));
}

}  // namespace

void predict(const PredictOptions& options, std::stop_token stop,
             const std::function<void(const std::string&)>& line) {
  tasks::Classifier classifier(options.model, options.classifier);
  log_choices(classifier);
  if (options.data.empty()) {
    auto item = classifier.encode(options.text, options.pair);
    const tasks::PackedItem* items[] = {&item};
    std::vector<float> logits;
    classifier.run(items, logits);
    return line(best(classifier, logits));
  }
  data::DatasetReader reader(options.data, options.columns, false);
  answer_rows(
      classifier, reader, std::move(stop), [](const data::Example&) {},
      [&](const Answered& row) { line(best(classifier, row.logits)); });
}

}  // namespace textmill::offline
