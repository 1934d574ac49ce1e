#include "train/card.h"

#include <fmt/format.h>

namespace textmill::train {
namespace {

using format::Json;
using format::JsonView;

std::string text_of(const Json& value) { return value.string() ? *value.string() : format::to_text(value); }

std::string data(const JsonView& run) {
  std::string rows;
  for (const char* part : {"train", "validation"}) {
    if (auto source = run.find(part)) {
      rows += fmt::format("| {} | {} | {} | {} |\n", part, source->at("name").string(),
                          source->at("rows").integer(), source->at("sha256").string());
    }
  }
  return "| data | file | rows | SHA-256 |\n|---|---|---|---|\n" + rows;
}

std::string scores(const JsonView& run) {
  std::string rows;
  int64_t best = run.get_integer("best_epoch", 0, 0, INT32_MAX);
  for (const JsonView& epoch : run.at("epochs").array()) {
    int64_t number = epoch.at("epoch").integer();
    rows +=
        fmt::format("| {}{} | {:.4f} |", number, number == best ? " (kept)" : "", epoch.at("loss").number());
    if (auto scores = epoch.find("validation")) {
      rows += fmt::format(" {:.4f} | {:.4f} | {:.4f} |", scores->at("accuracy").number(),
                          scores->at("macro_f1").number(), scores->at("loss").number());
    } else {
      rows += " | | |";
    }
    rows += "\n";
  }
  return "| epoch | training loss | accuracy | macro F1 | validation loss |\n|---|---|---|---|---|\n" + rows;
}

std::string recipe(const JsonView& run) {
  std::string rows;
  for (const auto& [name, value] : run.at("recipe").object()) {
    if (name == "validation" && !run.find(name)) continue;  // the checksum of nothing
    rows += fmt::format("| {} | {} |\n", name, text_of(value.value()));
  }
  return "| | |\n|---|---|\n" + rows;
}

}  // namespace

std::string model_card(const Json& json) {
  JsonView run(json, "run.json");
  std::string labels;
  for (const std::string& label : run.at("labels").strings())  // quoted: it may hold anything
    labels += (labels.empty() ? "" : ", ") + format::to_text(Json(label));
  return fmt::format(
      R"(---
pipeline_tag: {task}
library_name: transformers
tags: [textmill]
---

# {base}, fine-tuned for {task}

Made by textmill {version} from `{base}`; it loads with transformers' `AutoModelForSequenceClassification`. Weights are
f32; products and activations of the training were {precision}.

Labels: {labels}

{data}
## Scores

{scores}
## Recipe

{recipe}
`run.json` has the full record: scores with the confusion matrix, times, versions.
)",
      fmt::arg("task", run.at("task").string()), fmt::arg("base", run.at("base_model").string()),
      fmt::arg("version", run.at("textmill").string()),
      fmt::arg("precision", run.at("recipe.precision").string()), fmt::arg("labels", labels),
      fmt::arg("data", data(run)), fmt::arg("scores", scores(run)), fmt::arg("recipe", recipe(run)));
}

}  // namespace textmill::train
