#include "offline/batches.h"

#include "base/error.h"
#include "base/log.h"

namespace textmill::offline {
namespace {

constexpr size_t kRows = 64;  // of a batch

}  // namespace

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
