#include "offline/batches.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "tasks/labels.h"

namespace textmill::offline {
namespace {

constexpr size_t kRows = 64;  // of a batch

}  // namespace

int label_id(const std::vector<std::string>& labels, const std::string& label, const std::string& where) {
  if (auto id = tasks::find_label(labels, label)) return *id;
  throw tasks::unknown_label(where, label, "the model's", labels);
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
  const std::string prompt = encoder.modules().prompt();
  const models::BertConfig& architecture = encoder.folder().architecture();
  base::log(base::Level::info, "data", {{"schema", reader.schema().describe()}});
  do {
    if (stop.stop_requested()) throw base::Error(base::Kind::cancelled, "stopped at " + reader.where());
    batch.clear();
    while (batch.size() < kRows && reader.next(rows[batch.size()])) {
      data::Example& row = rows[batch.size()];
      tasks::PackedItem& item = items[batch.size()];
      item = row.input_ids.empty()
                 ? reader.naming([&] { return encoder.encode(prompt + row.text, row.text_pair); })
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
