#include "train/load.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "base/spelling.h"
#include "tasks/labels.h"
#include "tasks/unpad.h"

namespace textmill::train {
namespace {

using base::Error;
using base::Kind;

constexpr size_t kChunk = 4096;  // rows that are in memory as text
constexpr size_t kTask = 64;     // rows that a thread tokenizes in a row

/// Labels in the order in which they were first seen, and then of their ids.
class LabelIds {
 public:
  explicit LabelIds(const KnownLabels& known) : known_(known) {
    for (const std::string& label : known.labels) add(label);
  }

  int32_t of(const std::string& label, const data::DatasetReader& reader) {
    auto found = ids_.find(label);
    if (found != ids_.end()) {
      seen_.insert(label);
      return found->second;
    }
    if (known_.closed) {
      std::vector<std::string_view> names(known_.labels.begin(), known_.labels.end());
      throw Error(Kind::invalid,
                  fmt::format("{}: label '{}' is not one of the {} known ones{}", reader.where(), label,
                              names.size(), base::did_you_mean(label, names)));
    }
    seen_.insert(label);
    return add(label);
  }

  /// The labels by their final ids; `examples` are given those.
  std::vector<std::string> finish(Examples& examples) const {
    if (known_.closed || std::ranges::equal(seen_, std::set(known_.labels.begin(), known_.labels.end()))) {
      return known_.labels;
    }
    auto labels = tasks::label_vocabulary(seen_);
    std::vector<int32_t> to(ids_.size());
    for (size_t id = 0; id < labels.size(); id++) to[ids_.at(labels[id])] = static_cast<int32_t>(id);
    examples.relabel(to);
    return labels;
  }

 private:
  int32_t add(const std::string& label) { return ids_.emplace(label, ids_.size()).first->second; }

  const KnownLabels& known_;
  std::map<std::string, int32_t> ids_;
  std::set<std::string> seen_;
};

}  // namespace

std::optional<LoadedText> load_text(const base::Path& path, const data::Columns& columns,
                                    const KnownLabels& known, const tasks::ModelFolder& model,
                                    const text::Tokenizer* tokenizer, int max_length, nn::kernel::Pool& pool,
                                    std::stop_token stop) {
  text::EncodeOptions encode{.max_length = static_cast<size_t>(max_length)};
  if (tokenizer)
    tokenizer->encode(
        "", "", encode);  // throws here, not on a thread of the pool, if there is no room for special tokens
  data::DatasetReader reader(path, columns, true, data::Inputs::texts_or_ids);
  LoadedText loaded;
  LabelIds ids(known);
  std::vector<data::Example> rows(kChunk);
  std::vector<text::Encoding> encodings(kChunk);
  std::vector<int32_t> labels(kChunk);
  size_t count = kChunk;
  while (count == kChunk) {
    if (stop.stop_requested()) return {};
    for (count = 0; count < kChunk && reader.next(rows[count]); count++) {
      labels[count] = ids.of(*rows[count].label, reader);
      if (rows[count].input_ids.empty()) {
        if (!tokenizer) model.tokenizer();  // throws what is missing
        continue;
      }
      auto item = tasks::unpad(rows[count], reader, model.architecture(), max_length);
      encodings[count].ids = std::move(item.input_ids);
      encodings[count].type_ids = std::move(item.type_ids);
    }
    pool.run(static_cast<int>((count + kTask - 1) / kTask), [&](int task, int) {
      for (size_t i = task * kTask; i < std::min(count, (task + 1) * kTask); i++) {
        if (rows[i].input_ids.empty())
          tokenizer->encode(rows[i].text, rows[i].text_pair, encode, encodings[i]);
      }
    });
    for (size_t i = 0; i < count; i++)
      loaded.examples.add(encodings[i].ids, encodings[i].type_ids, labels[i]);
  }
  loaded.labels = ids.finish(loaded.examples);
  loaded.columns = reader.schema().columns();
  loaded.source = format::Json::object({{"name", base::name_of(path)},
                                        {"sha256", data::dataset_sha256(path)},
                                        {"schema", reader.schema().describe()},
                                        {"rows", loaded.examples.size()},
                                        {"tokens", loaded.examples.tokens()}});
  return loaded;
}

}  // namespace textmill::train
