#include "offline/predict.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "offline/batches.h"
#include "tasks/columns.h"

namespace textmill::offline {
namespace {

std::string line_of(const tasks::Encoder& encoder, std::span<const float> outputs, const std::string& where) {
  if (!tasks::is_finite(outputs))
    throw base::Error(base::Kind::internal, where + ": the model's outputs are not finite");
  if (encoder.embeds()) {
    std::string line;
    tasks::append_vector(line, tasks::embedding_of(outputs, encoder.modules().normalize));
    return line;
  }
  auto scores = tasks::scores(outputs, encoder.folder().score_function());
  auto largest = std::max_element(scores.begin(), scores.end());
  const std::string& label = encoder.folder().labels()[largest - scores.begin()];
  return format::to_text(format::Json::object({{"label", label}, {"score", *largest}}));
}

}  // namespace

void predict(const PredictOptions& options, std::stop_token stop,
             const std::function<void(const std::string&)>& line) {
  tasks::Encoder encoder(options.model, options.encoder);
  log_choices(encoder);
  if (options.data.empty()) {
    auto item = encoder.encode(encoder.modules().prompt() + options.text, options.pair);
    const tasks::PackedItem* items[] = {&item};
    std::vector<float> outputs;
    encoder.run(items, outputs);
    return line(line_of(encoder, outputs, "the text"));
  }
  data::DatasetReader reader(options.data, tasks::columns_for(encoder.folder().folder(), options.columns),
                             false, data::Inputs::texts_or_ids);
  int64_t rows = 0;
  answer_rows(
      encoder, reader, std::move(stop), [](const data::Example&) {},
      [&](const Answered& row) {
        line(line_of(encoder, row.outputs, fmt::format("{}: row {}", options.data.string(), ++rows)));
      });
}

}  // namespace textmill::offline
