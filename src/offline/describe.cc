#include "offline/describe.h"

#include <vector>

#include "nn/checkpoint.h"
#include "tasks/engine.h"
#include "tasks/footprint.h"
#include "tasks/model_folder.h"

namespace textmill::offline {
namespace {

using format::Json;

/// What the figures of memory are for: as many sequences, of the longest.
constexpr int kSequences = 16;

struct Planned {
  models::EncoderInputs inputs;
  nn::Plan plan;
};

Planned plan_for(models::TextClassifier& model, nn::Format format, bool training) {
  auto recorded = models::record_classifier(model, {.training = training});
  auto backward = training ? nn::Backward::outputs : nn::Backward::none;
  return {recorded.inputs,
          nn::make_plan(std::move(recorded.recording), tasks::plan_options(format, backward))};
}

Json by_format(auto&& value) {
  Json json;
  for (nn::Format format : {nn::Format::f32, nn::Format::bf16}) json.set(tasks::name(format), value(format));
  return json;
}

}  // namespace

Json describe(const base::Path& path) {
  tasks::ModelFolder folder(path);
  // Loaded if it can be: then all tensors are there, in the right shapes, and held as they are stored.
  std::unique_ptr<models::TextClassifier> loaded;
  if (folder.has_head()) {
    loaded = folder.load();
  } else {
    folder.check_weights();
  }
  models::TextClassifier bare(folder.architecture());
  models::TextClassifier& model = loaded ? *loaded : bare;
  int64_t parameters = nn::count_parameters(folder.has_head() ? nn::fields(model) : nn::fields(model.body));

  auto tokenizer = folder.find_tokenizer();
  auto [length, source] = folder.max_length({}, tokenizer ? &*tokenizer : nullptr);
  std::vector<int32_t> lengths(kSequences, length);
  auto memory = [&](bool training) {
    return by_format([&](nn::Format format) {
      Planned planned = plan_for(model, format, training);
      return tasks::footprint(planned.plan, planned.inputs, lengths).total();
    });
  };
  auto flops = [&](bool training) {
    Planned planned = plan_for(model, nn::Format::f32, training);
    return tasks::flops(planned.plan, planned.inputs, lengths) / (int64_t{kSequences} * length);
  };

  Json json = Json::object({{"task", folder.has_head() ? Json("text-classification") : Json()},
                            {"model_type", *folder.config().find("model_type")->string()},
                            {"parameters", parameters},
                            {"bytes", by_format([&](nn::Format format) {
                               return parameters * (format == nn::Format::f32 ? 4 : 2);
                             })}});
  if (folder.has_head()) json.set("labels", Json::array(folder.labels()));
  json.set("max_length", length);
  json.set("vocabulary", folder.architecture().vocab);
  json.set("tokenizer", tokenizer.has_value());
  json.set("flops_per_token", Json::object({{"serve", flops(false)}, {"train", flops(true)}}));
  bool quantized = bool{folder.quantization()};  // then it is not trained
  json.set("quantization", quantized ? Json(folder.quantization().scheme) : Json());
  json.set("memory", Json::object({{"sequences", kSequences},
                                   {"tokens", kSequences * length},
                                   {"serve", memory(false)},
                                   {"train", quantized ? Json() : memory(true)}}));
  return json;
}

}  // namespace textmill::offline
