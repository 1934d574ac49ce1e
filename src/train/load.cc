#include "train/load.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <utility>

#include "base/error.h"
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
  explicit LabelIds(const KnownLabels& known) : known_(known) {}

  int32_t of(const std::string& label, const data::DatasetReader& reader) {
    auto found = ids_.find(label);
    if (found != ids_.end()) return found->second;
    if (known_.closed && !tasks::find_label(known_.labels, label))
      throw tasks::unknown_label(reader.where(), label, "the training data's", known_.labels);
    return ids_.emplace(label, ids_.size()).first->second;
  }

  /// The labels by their final ids; `examples` are given those.
  std::vector<std::string> finish(Examples& examples) const {
    std::vector<int32_t> to(ids_.size());
    if (known_.closed || are_known()) {
      for (const auto& [label, id] : ids_) to[id] = *tasks::find_label(known_.labels, label);
      examples.relabel(to);
      return known_.labels;
    }
    std::set<std::string> seen;
    for (const auto& [label, id] : ids_) seen.insert(label);
    auto labels = tasks::label_vocabulary(seen);
    for (size_t id = 0; id < labels.size(); id++) to[ids_.at(labels[id])] = static_cast<int32_t>(id);
    examples.relabel(to);
    return labels;
  }

 private:
  /// Each of the known, and nothing else.
  bool are_known() const {
    std::set<std::optional<int>> found;
    for (const auto& [label, id] : ids_) found.insert(tasks::find_label(known_.labels, label));
    return !found.contains(std::nullopt) && found.size() == known_.labels.size() &&
           found.size() == ids_.size();
  }

  const KnownLabels& known_;
  std::map<std::string, int32_t> ids_;
};

}  // namespace

std::optional<LoadedText> load_text(const base::Path& path, const data::Columns& columns,
                                    const KnownLabels& known, const tasks::ModelFolder& model,
                                    const text::Tokenizer* tokenizer, int max_length, nn::kernel::Pool& pool,
                                    std::stop_token stop) {
  text::EncodeOptions encode{.max_length = static_cast<size_t>(max_length)};
  data::DatasetReader reader(path, columns, true, data::Inputs::texts_or_ids);
  if (tokenizer) {
    size_t special = (reader.schema().text_pair ? tokenizer->encode("", "") : tokenizer->encode("")).size();
    if (std::cmp_less_equal(max_length, special))
      throw Error(Kind::invalid, fmt::format("{} tokens at most: no room for a text beside {} special ones",
                                             max_length, special));
  }
  LoadedText loaded;
  LabelIds ids(known);
  std::vector<data::Example> rows(kChunk);
  std::vector<text::Encoding> encodings(kChunk);
  std::vector<int32_t> labels(kChunk);
  std::vector<std::string> places(kChunk);
  size_t count = kChunk;
  while (count == kChunk) {
    if (stop.stop_requested()) return {};
    for (count = 0; count < kChunk && reader.next(rows[count]); count++) {
      labels[count] = ids.of(*rows[count].label, reader);
      places[count] = reader.where();
      if (rows[count].input_ids.empty()) {
        if (!tokenizer) model.tokenizer();  // throws what is missing
        continue;
      }
      auto item = tasks::unpad(rows[count], reader, model.architecture(), max_length);
      encodings[count].ids = std::move(item.input_ids);
      encodings[count].type_ids = std::move(item.type_ids);
    }
    std::map<size_t, Error> refused;
    std::mutex mutex;
    pool.run(static_cast<int>((count + kTask - 1) / kTask), [&](int task, int) {
      for (size_t i = task * kTask; i < std::min(count, (task + 1) * kTask); i++) try {
          if (rows[i].input_ids.empty())
            tokenizer->encode(rows[i].text, rows[i].text_pair, encode, encodings[i]);
        } catch (const Error& error) {  // the pool's tasks do not throw
          std::lock_guard lock(mutex);
          refused.emplace(i, error);
        }
    });
    if (!refused.empty()) {
      const auto& [row, error] = *refused.begin();
      throw Error(error.kind(), fmt::format("{}: {}", places[row], error.what()));
    }
    for (size_t i = 0; i < count; i++)
      loaded.examples.add(encodings[i].ids, encodings[i].type_ids, labels[i]);
  }
  loaded.labels = ids.finish(loaded.examples);
  loaded.columns = reader.schema().columns();
  loaded.names = reader.schema().names();
  loaded.source = format::Json::object({{"name", base::name_of(path)},
                                        {"sha256", data::dataset_sha256(path)},
                                        {"schema", reader.schema().describe()},
                                        {"rows", loaded.examples.size()},
                                        {"tokens", loaded.examples.tokens()}});
  return loaded;
}

}  // namespace textmill::train
