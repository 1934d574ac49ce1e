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

void log_choices(const tasks::Encoder& encoder) {
  tasks::log_engine(encoder.format(), encoder.threads(), encoder.max_length());
  if (!encoder.embeds()) return;
  base::log(base::Level::info, "embedding",
            {{"pooling", tasks::name(*encoder.modules().pooling)},
             {"normalized", encoder.modules().normalize},
             {"from", encoder.modules().source}});
}

void answer_rows(tasks::Encoder& encoder, data::DatasetReader& reader, std::stop_token stop,
                 const std::function<void(const data::Example&)>& accept,
                 const std::function<void(const Answered&)>& answer) {
  std::vector<data::Example> rows(kRows);
  std::vector<tasks::PackedItem> items(kRows);
  std::vector<const tasks::PackedItem*> batch;
  std::vector<float> outputs;
  auto width = static_cast<size_t>(encoder.width());
  const models::BertConfig& architecture = encoder.folder().architecture();
  base::log(base::Level::info, "data", {{"schema", reader.schema().describe()}});
  do {
    if (stop.stop_requested()) throw base::Error(base::Kind::cancelled, "stopped at " + reader.where());
    batch.clear();
    while (batch.size() < kRows && reader.next(rows[batch.size()])) {
      data::Example& row = rows[batch.size()];
      tasks::PackedItem& item = items[batch.size()];
      item = row.input_ids.empty() ? encoder.encode(encoder.modules().prompt() + row.text, row.text_pair)
                                   : tasks::unpad(row, reader, architecture, encoder.max_length().tokens);
      accept(row);
      batch.push_back(&item);
    }
    encoder.run(batch, outputs);
    for (size_t i = 0; i < batch.size(); i++) {
      answer({rows[i], std::span(outputs).subspan(i * width, width)});
    }
  } while (batch.size() == kRows);
}

}  // namespace textmill::offline
