#include "train/state.h"

#include <fmt/format.h>

#include <cstring>
#include <filesystem>
#include <future>

#include "base/error.h"
#include "nn/checkpoint.h"
#include "nn/safetensors.h"
#include "train/checkpoint.h"

namespace textmill::train {
namespace {

namespace fs = std::filesystem;
using base::Path;
using format::Json;
using format::JsonView;

constexpr int kFormat = 1;

void write_copy(const Path& from, const Path& to) {
  base::write_file_durably(to, base::MappedFile(from).text());
}

/// Of the same bytes, without taking their space twice where the file system can.
void link_or_copy(const Path& from, const Path& to) {
  std::error_code refused;
  fs::create_hard_link(from, to, refused);
  if (refused) write_copy(from, to);
}

void copy(const nn::Safetensors& file, const std::string& name, std::span<float> to) {
  const nn::StoredTensor* tensor = file.find(name);
  if (!tensor || tensor->bytes.size() != to.size_bytes()) {
    throw base::Error(base::Kind::invalid,
                      fmt::format("{}: tensor {} is not that of this model", file.path().string(), name));
  }
  std::memcpy(to.data(), tensor->bytes.data(), to.size_bytes());
}

void load_weights(const Path& path, models::TextClassifier& model) {
  nn::Safetensors file(path);
  for (nn::Weight* weight : nn::fields(model)) copy(file, weight->name, weight->own());
}

void save_moments(const Path& path, Trainer& trainer) {
  std::vector<nn::TensorToWrite> tensors;
  for (size_t i = 0; i < trainer.trained().size(); i++) {
    const nn::Weight& weight = *trainer.trained()[i];
    tensors.push_back(
        {weight.name + ".first", "F32", weight.shape(), std::as_bytes(trainer.first_moment(i))});
    tensors.push_back(
        {weight.name + ".second", "F32", weight.shape(), std::as_bytes(trainer.second_moment(i))});
  }
  nn::write_safetensors(path, std::move(tensors));
}

/// Of a checkpoint that has none: zeros.
Spent read_spent(const JsonView& state) {
  auto seconds = [&](const char* name) { return state.get_number(std::string("seconds.") + name, 0); };
  return {.total = seconds("total"),
          .tokenize = seconds("tokenize"),
          .steps = seconds("steps"),
          .evaluate = seconds("evaluate"),
          .checkpoint = seconds("checkpoint"),
          .rows = state.get_integer("rows", 0, 0, INT64_MAX),
          .started = state.get_string("started", "")};
}

Json to_json(const RunState& state) {
  Json json = Json::object({{"format", kFormat},
                            {"step", state.step},
                            {"epoch_loss", state.epoch_loss},
                            {"recipe", state.recipe},
                            {"epochs", state.epochs},
                            {"seconds", to_json(state.spent)},
                            {"rows", state.spent.rows},
                            {"started", state.spent.started}});
  if (const auto& best = state.best) {
    json.set("best",
             Json::object({{"epoch", best->epoch}, {"accuracy", best->accuracy}, {"loss", best->loss}}));
  }
  return json;
}

void check_recipe(const JsonView& then, const Json& now) {
  auto changed = [&](const std::string& name, const Json* before, const Json* value) {
    auto text = [](const Json* json) { return json ? to_text(*json) : "none"; };
    throw base::Error(base::Kind::invalid,
                      fmt::format("{}.{}: the run had {}, now it is {}; resume with what it began with",
                                  then.where(), name, text(before), text(value)));
  };
  for (const auto& [name, value] : *now.object()) {
    const Json* before = then.value().find(name);
    if (!before || *before != value) changed(name, before, &value);
  }
  for (const auto& [name, before] : then.object())
    if (!now.find(name)) changed(name, &before.value(), nullptr);
}

}  // namespace

Json to_json(const Spent& spent) {
  return Json::object({{"total", spent.total},
                       {"tokenize", spent.tokenize},
                       {"steps", spent.steps},
                       {"evaluate", spent.evaluate},
                       {"checkpoint", spent.checkpoint}});
}

Path save_checkpoint(const Path& root, const RunState& state, Trainer& trainer, models::TextClassifier& model,
                     bool is_best, const std::optional<Path>& previous) {
  TEXTMILL_CHECK(!state.best || is_best || previous);
  FolderWriter writer(root, checkpoint_name(state.step));
  const Path& folder = writer.path();
  // Side by side: with a large vocabulary these are gigabytes, and who stops a run waits for them.
  auto moments =
      std::async(std::launch::async, [&] { save_moments(folder / "moments.safetensors", trainer); });
  nn::save_weights(nn::fields(model), folder / "weights.safetensors");
  Path best = folder / "best.safetensors";
  if (state.best && is_best) link_or_copy(folder / "weights.safetensors", best);
  if (state.best && !is_best)
    copy(*previous / "best.safetensors", best);  // what damages one leaves the other
  moments.get();
  base::write_file_durably(folder / "metrics.jsonl", state.history);
  base::write_file_durably(folder / "state.json", format::to_pretty_text(to_json(state)));
  return writer.commit();
}

RunState read_state(const Path& checkpoint, const Json& recipe) {
  Json json = format::read_json(checkpoint / "state.json");
  JsonView view(json, (checkpoint / "state.json").string());
  view.at("format").integer(kFormat, kFormat);
  check_recipe(view.at("recipe"), recipe);
  RunState state{.step = view.at("step").integer(0),
                 .epoch_loss = view.at("epoch_loss").number(),
                 .recipe = recipe,
                 .epochs = view.at("epochs").value(),
                 .spent = read_spent(view),
                 .history = base::read_file(checkpoint / "metrics.jsonl")};
  if (auto best = view.find("best")) {
    state.best = {.epoch = static_cast<int>(best->at("epoch").integer(1)),
                  .accuracy = best->at("accuracy").number(),
                  .loss = best->at("loss").number()};
  }
  return state;
}

void restore_trainer(const Path& checkpoint, const RunState& state, Trainer& trainer,
                     models::TextClassifier& model) {
  load_weights(checkpoint / "weights.safetensors", model);
  nn::Safetensors moments(checkpoint / "moments.safetensors");
  for (size_t i = 0; i < trainer.trained().size(); i++) {
    copy(moments, trainer.trained()[i]->name + ".first", trainer.first_moment(i));
    copy(moments, trainer.trained()[i]->name + ".second", trainer.second_moment(i));
  }
  trainer.restore(state.step);
}

void load_best(const Path& checkpoint, const RunState& state, models::TextClassifier& model) {
  load_weights(checkpoint / (state.best ? "best.safetensors" : "weights.safetensors"), model);
}

}  // namespace textmill::train
