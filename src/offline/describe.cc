#include "offline/describe.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/process.h"
#include "nn/checkpoint.h"
#include "nn/timing.h"
#include "tasks/engine.h"
#include "tasks/footprint.h"
#include "tasks/model_folder.h"
#include "tasks/sentence.h"

namespace textmill::offline {
namespace {

using format::Json;

/// What the figures of memory are for: as many sequences, of the longest.
constexpr int kSequences = 16;

struct Planned {
  models::EncoderInputs inputs;
  nn::Plan plan;
};

Planned plan_for(models::TextClassifier& model, bool classifies, nn::Format format, bool training) {
  nn::RecorderOptions options{.training = training};
  bool embeds = !classifies && !training;  // as it is trained it has a head
  auto recorded =
      models::record_encoder(model, embeds ? std::optional(models::Pooling::mean) : std::nullopt, options);
  auto backward = training ? nn::Backward::outputs : nn::Backward::none;
  return {recorded.inputs,
          nn::make_plan(std::move(recorded.recording), tasks::plan_options(format, backward))};
}

Json by_format(auto&& value) {
  Json json;
  for (nn::Format format : {nn::Format::f32, nn::Format::bf16}) json.set(tasks::name(format), value(format));
  return json;
}

/// "8x128": {"8 sequences of": 128 tokens}
Json milliseconds(models::TextClassifier& model, bool classifies, bool quantized, nn::Format format,
                  nn::kernel::Pool& pool, int longest) {
  nn::Timing timing(format, quantized, pool);
  Planned planned = plan_for(model, classifies, format, false);
  Json json;
  for (int sequences : {1, 8}) {
    for (int length : {16, 64, 128, 512}) {
      std::vector<int32_t> lengths(sequences, std::min(length, longest));
      double seconds = timing.seconds(planned.plan, tasks::rows_of(planned.plan, planned.inputs, lengths));
      json.set(fmt::format("{}x{}", sequences, lengths[0]), std::round(seconds * 1e6) / 1e3);
    }
  }
  return json;
}

}  // namespace

Json describe(const base::Path& path, bool calibrate, int threads) {
  tasks::ModelFolder folder(path);
  bool classifies = folder.has_head();
  // Loaded: then all tensors are there, in the right shapes, and held as they are stored.
  auto loaded = folder.load_encoder();
  models::TextClassifier& model = *loaded;
  int64_t parameters = nn::count_parameters(classifies ? nn::fields(model) : nn::fields(model.body));

  auto tokenizer = folder.find_tokenizer();
  folder.release_pages();
  int64_t process = base::resident_memory();  // the program and the tokenizer, as they will be there too
  auto [length, source] = folder.max_length({}, tokenizer ? &*tokenizer : nullptr);
  std::vector<int32_t> lengths(kSequences, length);
  auto memory = [&](bool training) {
    return by_format([&](nn::Format format) {
      Planned planned = plan_for(model, classifies, format, training);
      return process + tasks::footprint(planned.plan, planned.inputs, lengths).total();
    });
  };
  auto flops = [&](bool training) {
    Planned planned = plan_for(model, classifies, nn::Format::f32, training);
    return tasks::flops(planned.plan, planned.inputs, lengths) / (int64_t{kSequences} * length);
  };

  Json json = Json::object({{"task", classifies ? "text-classification" : "embedding"},
                            {"model_type", *folder.config().find("model_type")->string()},
                            {"parameters", parameters},
                            {"bytes", by_format([&](nn::Format format) {
                               return parameters * (format == nn::Format::f32 ? 4 : 2);
                             })}});
  if (classifies) {
    json.set("labels", Json::array(folder.labels()));
  } else {
    auto modules = folder.sentence_modules();
    json.set("embedding", Json::object({{"dimensions", folder.architecture().hidden},
                                        {"pooling", tasks::name(*modules.pooling)},
                                        {"normalized", modules.normalize}}));
  }
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
  if (calibrate) {
    nn::kernel::Pool pool(tasks::choose_threads({.threads = threads}));
    json.set("threads", pool.threads());
    json.set("milliseconds", by_format([&](nn::Format format) {
               return milliseconds(model, classifies, quantized, format, pool, length);
             }));
  }
  return json;
}

}  // namespace textmill::offline
