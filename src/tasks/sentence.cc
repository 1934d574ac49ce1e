#include "tasks/sentence.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iterator>

#include "base/error.h"
#include "format/json.h"

namespace textmill::tasks {
namespace {

using format::Json, format::JsonView;
using models::Pooling;

/// `word` is what today's Sentence Transformers write in the pooling module's config.json, `flag` what older ones did.
struct Mode {
  const char *word, *flag, *name;
  Pooling pooling;
};
constexpr Mode kModes[] = {{"mean", "pooling_mode_mean_tokens", "mean", Pooling::mean},
                           {"cls", "pooling_mode_cls_token", "cls", Pooling::first},
                           {"lasttoken", "pooling_mode_lasttoken", "last-token", Pooling::last}};

constexpr const char* kModules = "modules.json";
constexpr const char* kPrompts = "config_sentence_transformers.json";

Pooling read_pooling(const JsonView& config) {
  if (auto word = config.find("pooling_mode")) {
    for (const Mode& mode : kModes) {
      if (word->string() == mode.word) return mode.pooling;
    }
    word->fail("mean, cls or lasttoken: no other is built");
  }
  const Mode* found = nullptr;
  int asked = 0;
  for (const auto& [name, value] : config.object()) {
    if (!name.starts_with("pooling_mode_") || !value.value().boolean() || !value.boolean()) continue;
    asked++;
    for (const Mode& mode : kModes) {
      if (name == mode.flag) found = &mode;
    }
  }
  if (asked != 1 || !found) {
    config.fail("one of pooling_mode_mean_tokens, _cls_token and _lasttoken to be true, and no other mode");
  }
  return found->pooling;
}

/// "sentence_transformers.models.Pooling": what comes after the last dot.
std::string_view class_of(std::string_view type) { return type.substr(type.rfind('.') + 1); }

/// Whether a prompt's tokens are pooled too.
bool read_modules(const base::Path& folder, const base::Path& file, SentenceModules& modules) {
  Json json = format::read_json(file);
  bool pooled = false, pools_prompts = true;
  for (const JsonView& module : JsonView(json, file.string()).array()) {
    std::string type = module.at("type").string();
    std::string_view name = class_of(type);
    if (name == "Pooling" && !pooled) {
      pooled = true;
      modules.files.push_back(base::Path(module.at("path").string()) / "config.json");
      Json pooling = format::read_json(folder / modules.files.back());
      JsonView config(pooling, (folder / modules.files.back()).string());
      modules.pooling = read_pooling(config);
      pools_prompts = config.get_boolean("include_prompt", true);
    } else if (name == "Normalize" && pooled) {
      modules.normalize = true;
    } else if (name != "Transformer" || pooled) {
      module.at("type").fail(
          "Transformer, Pooling and perhaps Normalize, in this order: no other module is built");
    }
  }
  if (!pooled) JsonView(json, file.string()).fail("a Pooling module");
  return pools_prompts;
}

void read_prompts(const base::Path& file, SentenceModules& modules) {
  Json json = format::read_json(file);
  JsonView config(json, file.string());
  if (auto prompts = config.find("prompts")) {
    for (const auto& [name, prompt] : prompts->object()) modules.prompts[name] = prompt.string();
  }
  modules.default_prompt = config.get_string("default_prompt_name", "");
  if (!modules.default_prompt.empty() && !modules.prompts.contains(modules.default_prompt)) {
    config.at("default_prompt_name").fail("the name of one of \"prompts\"");
  }
}

}  // namespace

SentenceModules read_sentence_modules(const base::Path& folder) {
  SentenceModules modules{.pooling = Pooling::mean, .source = "no modules.json: the mean"};
  auto exists = [&](const char* name) {
    bool found = std::filesystem::exists(folder / name);
    if (found) modules.files.emplace_back(name);
    return found;
  };
  bool pools_prompts = true;
  if (exists(kModules)) {
    modules.source = kModules;
    pools_prompts = read_modules(folder, folder / kModules, modules);
  }
  if (exists(kPrompts)) read_prompts(folder / kPrompts, modules);
  bool has_prompts =
      std::ranges::any_of(modules.prompts, [](const auto& prompt) { return !prompt.second.empty(); });
  if (has_prompts && !pools_prompts) {
    throw base::Error(base::Kind::invalid, folder.string() +
                                               ": has prompts, and a Pooling module with include_prompt "
                                               "false: leaving a prompt's tokens out is not built");
  }
  return modules;
}

std::string SentenceModules::prompt() const {
  auto found = prompts.find(default_prompt);
  return found == prompts.end() ? "" : found->second;
}

std::vector<float> embedding_of(std::span<const float> row, bool normalize) {
  std::vector<float> embedding(row.begin(), row.end());
  if (!normalize) return embedding;
  double length = 0;
  for (float x : row) length += double{x} * x;
  double inverse = 1 / std::max(std::sqrt(length), 1e-12);  // torch.nn.functional.normalize's least length
  for (float& x : embedding) x = static_cast<float>(x * inverse);
  return embedding;
}

double cosine(std::span<const float> x, std::span<const float> y) {
  double xy = 0, xx = 0, yy = 0;
  for (size_t i = 0; i < x.size(); i++) {
    xy += double{x[i]} * y[i];
    xx += double{x[i]} * x[i];
    yy += double{y[i]} * y[i];
  }
  return xy / std::max(std::sqrt(xx * yy), 1e-24);
}

void append_vector(std::string& out, std::span<const float> row) {
  out += '[';
  for (size_t i = 0; i < row.size(); i++)
    fmt::format_to(std::back_inserter(out), "{}{}", i ? ", " : "", row[i]);
  out += ']';
}

const char* name(Pooling pooling) {
  for (const Mode& mode : kModes) {
    if (mode.pooling == pooling) return mode.name;
  }
  return "?";
}

}  // namespace textmill::tasks
