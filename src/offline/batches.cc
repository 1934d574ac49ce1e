#include "offline/batches.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/spelling.h"

namespace textmill::offline {
namespace {

constexpr size_t kRows = 64;  // of a batch

}  // namespace

int label_id(const std::vector<std::string>& labels, const std::string& label, const std::string& where) {
  auto found = std::find(labels.begin(), labels.end(), label);
  if (found != labels.end()) return static_cast<int>(found - labels.begin());
  std::vector<std::string_view> names(labels.begin(), labels.end());
  throw base::Error(base::Kind::invalid, fmt::format("{}: label '{}' is not one of the model's {}{}", where,
                                                     label, labels.size(), base::did_you_mean(label, names)));
}

void log_choices(const tasks::Classifier& classifier) {
  base::log(base::Level::info, "engine",
            {{"precision", tasks::name(classifier.format())},
             {"threads", classifier.threads()},
             {"max_length", classifier.max_length().tokens},
             {"max_length_from", classifier.max_length().source}});
}

void answer_rows(tasks::Classifier& classifier, data::DatasetReader& reader, std::stop_token stop,
                 const std::function<void(const data::Example&)>& accept,
                 const std::function<void(const Answered&)>& answer) {
  std::vector<data::Example> rows(kRows);
  std::vector<tasks::PackedItem> items(kRows);
  std::vector<const tasks::PackedItem*> batch;
  std::vector<float> logits;
  size_t labels = classifier.labels().size();
  base::log(base::Level::info, "data", {{"schema", reader.schema().describe()}});
  do {
    if (stop.stop_requested()) throw base::Error(base::Kind::cancelled, "stopped at " + reader.where());
    batch.clear();
    while (batch.size() < kRows && reader.next(rows[batch.size()])) {
      data::Example& row = rows[batch.size()];
      accept(row);
      tasks::PackedItem& item = items[batch.size()];
      item = classifier.encode(row.text, row.text_pair);
      batch.push_back(&item);
    }
    classifier.run(batch, logits);
    for (size_t i = 0; i < batch.size(); i++) {
      answer({rows[i], std::span(logits).subspan(i * labels, labels)});
    }
  } while (batch.size() == kRows);
}

}  // namespace textmill::offline
