#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/files.h"
#include "format/json.h"
#include "models/bert.h"
#include "nn/checkpoint.h"

// For tests, here and above: a BERT of a few thousand random weights, as a folder.

namespace textmill::tasks::testing {

struct TinyModel {
  std::string model_type = "bert";
  std::vector<std::string> labels{"no", "yes"};
  bool head = true;        // else a bare encoder, its tensors without prefix
  std::string leave_out;   // a tensor that is not written
  std::string extra = "";  // members for config.json: `"a": 1, `
};

inline const char* const kWords[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the",  "a",   "film",
                                     "was",   "good",  "bad",   "very",  "##ly",   "real", "not", "."};

inline std::string tiny_config(const TinyModel& tiny) {
  std::string labels;
  for (size_t id = 0; id < tiny.labels.size(); id++) {
    labels += fmt::format(R"({}"{}": "{}")", id ? ", " : "", id, tiny.labels[id]);
  }
  return fmt::format(
      R"({{"model_type": "{}", {}"id2label": {{{}}}, "vocab_size": {}, "hidden_size": 32, "dim": 32,
"num_hidden_layers": 2, "n_layers": 2, "num_attention_heads": 4, "n_heads": 4, "intermediate_size": 48,
"hidden_dim": 48, "max_position_embeddings": 24, "type_vocab_size": 2, "pad_token_id": 0}})",
      tiny.model_type, tiny.extra, labels, std::size(kWords));
}

/// Writes config.json, vocab.txt, tokenizer_config.json, model.safetensors.
inline void write_tiny_model(const base::Path& folder, const TinyModel& tiny = {}) {
  std::string config = tiny_config(tiny), vocabulary;
  for (const char* word : kWords) vocabulary += std::string(word) + "\n";
  base::write_file_durably(folder / "config.json", config);
  base::write_file_durably(folder / "vocab.txt", vocabulary);
  base::write_file_durably(folder / "tokenizer_config.json", R"({"do_lower_case": true})");

  format::Json json = format::parse_json(config, "config.json");
  models::TextClassifier model(models::bert_config(format::JsonView(json, "config.json")));
  models::ClassifierHead head(model.body.config);
  auto in_head = nn::fields(head);
  auto weights = nn::fields(model);
  nn::initialize_weights(weights, 0.3, 1);
  for (nn::Weight* weight : weights) {
    if (weight->name.find("orm.weight") != std::string::npos) std::ranges::fill(weight->own(), 1.0f);
  }
  std::erase_if(weights, [&](nn::Weight* weight) {
    bool of_head = std::ranges::any_of(in_head, [&](auto* w) { return w->name == weight->name; });
    return weight->name == tiny.leave_out || (of_head && !tiny.head);
  });
  if (!tiny.head) {
    for (nn::Weight* weight : weights) weight->name.erase(0, weight->name.find('.') + 1);
  }
  nn::save_weights(weights, folder / "model.safetensors");
}

}  // namespace textmill::tasks::testing
