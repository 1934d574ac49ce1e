// model FOLDER OUT ENGINE: runs the model of FOLDER (config.json, model.safetensors) on FOLDER/batch.safetensors, forward
// and backward, and writes to OUT what it found: "output", "loss", and "grad/NAME" of every weight that trains. ENGINE:
// single or double (the naive executor), f32 or bf16 (the CPU engine, on the path that TEXTMILL_CPU says). Without
// arguments: the paths that this machine has.

#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <type_traits>

#include "base/error.h"
#include "models/bert.h"
#include "models/gpt_neox.h"
#include "models/llama.h"
#include "models/mllama.h"
#include "models/t5.h"
#include "nn/checkpoint.h"
#include "nn/cpu.h"
#include "nn/kernel/cpu_features.h"
#include "nn/naive.h"
#include "nn/safetensors.h"

namespace textmill {
namespace {

using Ints = std::vector<int32_t>;

/// The tensors of batch.safetensors.
class Given {
 public:
  explicit Given(const base::Path& file) : file_(file) {}
  bool has(const std::string& name) const { return file_.find(name) != nullptr; }
  Ints ints(const std::string& name) const {
    auto values = read<int64_t>(name);
    return {values.begin(), values.end()};
  }
  std::vector<float> floats(const std::string& name) const { return read<float>(name); }

 private:
  template <class T>
  std::vector<T> read(const std::string& name) const {
    const nn::StoredTensor* tensor = file_.find(name);
    TEXTMILL_CHECK(tensor && tensor->bytes.size() == tensor->count() * sizeof(T));
    auto* first = reinterpret_cast<const T*>(tensor->bytes.data());
    return {first, first + tensor->count()};
  }
  nn::Safetensors file_;
};

/// What the program writes.
class Found {
 public:
  template <class Real>
  void add(const std::string& name, std::span<const Real> values) {
    values_[name].assign(values.begin(), values.end());
  }
  void write(const base::Path& path) const {
    std::vector<nn::TensorToWrite> tensors;
    for (const auto& [name, values] : values_) {
      tensors.push_back(
          {name, "F64", {static_cast<int64_t>(values.size())}, std::as_bytes(std::span(values))});
    }
    nn::write_safetensors(path, std::move(tensors));
  }

 private:
  std::map<std::string, std::vector<double>> values_;
};

/// Mean cross-entropy over the rows of the one output.
template <class Real>
nn::RootLossOf<Real> mean_cross_entropy(const Ints& labels, double& loss) {
  return [&](std::span<const nn::RootRows<Real>> roots) {
    auto [logits, gradient, rows, cols] = roots[0];
    for (int r = 0; r < rows; r++) {
      double total = 0;
      for (int c = 0; c < cols; c++) total += std::exp(double{logits[r * cols + c]});
      loss += (std::log(total) - logits[r * cols + labels[r]]) / rows;
      for (int c = 0; c < cols; c++) {
        double p = std::exp(double{logits[r * cols + c]}) / total;
        gradient[r * cols + c] = static_cast<Real>((p - (c == labels[r])) / rows);
      }
    }
  };
}

/// The naive executor of any plan.
template <class T>
struct NaiveEngine : nn::Naive<T> {
  using Real = T;
  using nn::Naive<T>::Naive;
  static nn::PlanOptions options(nn::PlanOptions options) { return options; }
};

/// The CPU engine, with the passes that it is used with.
template <nn::Format kFormat>
struct CpuEngine : nn::Cpu {
  using Real = float;
  explicit CpuEngine(const nn::Plan& plan) : CpuEngine(plan, std::make_unique<nn::kernel::Pool>(2)) {}
  static nn::PlanOptions options(nn::PlanOptions options) {
    options.format = kFormat;
    options.fuse_head = false;
    options.save_slope = true;
    options.patterns = nn::cpu_patterns();
    return options;
  }

 private:
  CpuEngine(const nn::Plan& plan, std::unique_ptr<nn::kernel::Pool> pool)
      : nn::Cpu(plan, *pool), pool_(std::move(pool)) {}
  std::unique_ptr<nn::kernel::Pool> pool_;
};

template <class Engine>
class Comparison {
 public:
  using Real = typename Engine::Real;
  Comparison(const base::Path& folder, Found& found)
      : config_json_(format::read_json(folder / "config.json")),
        config_(config_json_, (folder / "config.json").string()),
        checkpoint_(folder / "model.safetensors"),
        given_(folder / "batch.safetensors"),
        found_(found) {}

  void run() {
    std::string type = config_.get_string("model_type", "");
    if (type == "llama")
      return decoder<models::Llama>(models::llama_config(config_), models::llama, models::llama_logits);
    if (type == "gpt_neox") {
      return decoder<models::GptNeox>(models::gpt_neox_config(config_), models::gpt_neox,
                                      models::gpt_neox_logits);
    }
    if (type == "t5") return t5();
    if (type == "mllama_text_model") return mllama();
    classifier();
  }

 private:
  template <class Model>
  void load(Model& model, const std::string& prefix = "") {
    nn::require_weights(nn::load_weights(nn::fields(model), checkpoint_, prefix), checkpoint_);
  }

  void classifier() {
    models::TextClassifier model(models::bert_config(config_));
    if (given_.has("lora_scale")) adapt(model);
    load(model, "bert");
    auto [recording, inputs] = models::record_classifier(model, {});
    nn::Plan plan = make_plan(std::move(recording), {.backward = nn::Backward::outputs, .recompute = {0}});
    nn::Batch batch;
    batch.set_rows(inputs.tokens, given_.ints("lengths"));
    batch.set_index(inputs.ids, given_.ints("ids"));
    batch.set_index(inputs.types, given_.ints("types"));
    double loss = 0;
    Ints labels = given_.ints("labels");
    Engine engine(plan);
    run(engine, plan, batch, mean_cross_entropy<Real>(labels, loss));
    found_.add("output", engine.output(0));
    found_.add<double>("loss", {&loss, 1});
  }

  /// LoRA on queries and values; everything else is frozen.
  void adapt(models::TextClassifier& model) {
    for (nn::Weight* weight : nn::fields(model)) weight->trainable = false;
    for (auto& layer : model.body.layers) {
      for (nn::Linear* linear : {&layer.query, &layer.value}) {
        linear->adapter =
            std::make_unique<nn::Adapter>(linear->weight.cols, linear->weight.rows,
                                          given_.ints("lora_rank")[0], given_.floats("lora_scale")[0]);
      }
    }
  }

  /// A decoder: the loss of each next token, with the fused head; the logits of all tokens from a plan of
  /// their own.
  template <class Model, class Config, class Body, class Logits>
  void decoder(const Config& config, Body body, Logits logits) {
    Model model(config);
    load(model);
    if (given_.has("take")) return generate(model, body, logits);
    Ints lengths = given_.ints("lengths"), ids = given_.ints("ids");
    {
      nn::Recorder r;
      nn::Space tokens = r.space("tokens");
      nn::Index id = r.index("ids", tokens);
      r.output(logits(r, model, body(r, model, id)));
      nn::Plan plan = make_plan(r.finish(), {});
      nn::Batch batch;
      batch.set_rows(tokens, lengths);
      batch.set_index(id, ids);
      forward(plan, batch);
    }
    nn::Recorder r;
    nn::Space tokens = r.space("tokens");
    nn::Index id = r.index("ids", tokens), labelled = r.selection("labelled", tokens);
    nn::Index labels = r.index("labels", labelled.of);
    nn::Tensor weight = r.input(labelled.of, 1, "row weight");
    r.cross_entropy(logits(r, model, r.rows(body(r, model, id), labelled)), labels, weight);
    nn::Plan plan = make_plan(r.finish(), {.backward = nn::Backward::losses, .recompute = {1}});
    nn::Batch batch;
    batch.set_rows(tokens, lengths);
    batch.set_index(id, ids);
    Ints rows, next;
    int begin = 0;
    for (int length : lengths) {
      for (int i = begin; i + 1 < begin + length; i++) {
        rows.push_back(i);
        next.push_back(ids[i + 1]);
      }
      begin += length;
    }
    batch.set_index(labelled, rows);
    batch.set_index(labels, next);
    batch.set_input(weight, std::vector<float>(rows.size(), 1.0f / static_cast<float>(rows.size())));
    losses(plan, batch);
  }

  /// With a cache: batches that take so many more tokens of each sequence, as the rows of "take" say; the logits of each
  /// sequence's last one.
  template <class Model, class Body, class Logits>
  void generate(Model& model, Body body, Logits logits) {
    nn::Recorder r({.cached = true});
    nn::Space tokens = r.space("tokens");
    nn::Index id = r.index("ids", tokens);
    r.output(logits(r, model, r.rows(body(r, model, id), r.last(tokens, r.sequences(tokens)))));
    nn::Plan plan = make_plan(r.finish(), {});
    Engine engine(plan);
    take_turns(engine, plan, tokens, id, given_.ints("lengths"), given_.ints("ids"));
  }

  void take_turns(Engine& engine, const nn::Plan& plan, nn::Space tokens, nn::Index id, const Ints& lengths,
                  const Ints& ids) {
    const Ints take = given_.ints("take");
    Ints past(lengths.size());
    for (size_t turn = 0; turn * lengths.size() < take.size(); turn++) {
      nn::Batch batch;
      Ints taken, before, chosen;
      for (size_t s = 0, begin = 0; s < lengths.size(); begin += lengths[s++]) {
        int more = take[turn * lengths.size() + s];
        if (more == 0) continue;
        auto first = ids.begin() + static_cast<ptrdiff_t>(begin) + past[s];
        chosen.insert(chosen.end(), first, first + more);
        taken.push_back(more);
        before.push_back(past[s]);
        batch.caches.push_back(static_cast<int32_t>(s));
        past[s] += more;
      }
      batch.set_rows(tokens, taken, before);
      batch.set_index(id, chosen);
      batch.derive(plan.recording);
      engine.run(batch);
      found_.add("turn/" + std::to_string(turn), engine.output(0));
    }
  }

  /// The encoder once, into the cache; then the decoder, as generate() does.
  void generate(models::T5& model) {
    if constexpr (requires(Engine engine) { engine.caches; }) {  // which two plans can share
      nn::Recorder e({.cached = true});
      nn::Space tokens = e.space("tokens");
      nn::Index ids = e.index("ids", tokens);
      models::t5_remember(e, model, models::t5_encode(e, model, ids));
      nn::Plan encoder_plan = make_plan(e.finish(), {});
      nn::Batch batch;
      batch.set_rows(tokens, given_.ints("lengths"));
      batch.set_index(ids, given_.ints("ids"));
      for (size_t s = 0; s < given_.ints("lengths").size(); s++)
        batch.caches.push_back(static_cast<int32_t>(s));
      batch.derive(encoder_plan.recording);
      Engine encoder(encoder_plan);
      encoder.run(batch);

      nn::Recorder r({.cached = true});
      nn::Space targets = r.space("targets");
      nn::Index id = r.index("ids", targets);
      nn::Tensor x = models::t5_decode(r, model, id, models::t5_recall(r, model));
      r.output(models::t5_logits(r, model, r.rows(x, r.last(targets, r.sequences(targets)))));
      nn::Plan plan = make_plan(r.finish(), {});
      Engine engine(plan);
      engine.caches = encoder.caches;
      take_turns(engine, plan, targets, id, given_.ints("target_lengths"), given_.ints("target_ids"));
    } else {
      throw base::Error(base::Kind::invalid, "the CPU engine's caches are of one plan");
    }
  }

  void t5() {
    models::T5 model(models::t5_config(config_));
    load(model);
    if (given_.has("take")) return generate(model);
    nn::Recorder r;
    nn::Space tokens = r.space("tokens"), targets = r.space("targets");
    nn::Index ids = r.index("ids", tokens), target_ids = r.index("target ids", targets);
    nn::Index labels = r.index("labels", targets);
    nn::Tensor weight = r.input(targets, 1, "row weight");
    auto memories = models::t5_remember(r, model, models::t5_encode(r, model, ids));
    nn::Tensor logits = models::t5_logits(r, model, models::t5_decode(r, model, target_ids, memories));
    r.cross_entropy(logits, labels, weight);
    nn::Recording recording = r.finish(), shown = recording;
    shown.outputs = {logits.id};
    Ints target_lengths = given_.ints("target_lengths"), target_labels = given_.ints("labels");
    nn::Batch batch;
    batch.set_rows(tokens, given_.ints("lengths"));
    batch.set_rows(targets, target_lengths);
    batch.set_index(ids, given_.ints("ids"));
    batch.set_index(target_ids, given_.ints("target_ids"));
    batch.set_index(labels, target_labels);
    batch.set_input(
        weight, std::vector<float>(target_labels.size(), 1.0f / static_cast<float>(target_labels.size())));
    forward(make_plan(std::move(shown), {}), batch);
    losses(make_plan(std::move(recording), {.backward = nn::Backward::losses, .recompute_all = true}), batch);
  }

  void mllama() {
    models::LlamaConfig c;
    c.hidden = static_cast<int>(config_.at("hidden_size").integer());
    c.heads = static_cast<int>(config_.at("num_attention_heads").integer());
    c.kv_heads = static_cast<int>(config_.at("num_key_value_heads").integer());
    c.head_dim = c.hidden / c.heads;
    c.mlp = static_cast<int>(config_.at("intermediate_size").integer());
    c.norm_eps = config_.at("rms_norm_eps").number();
    models::MllamaCrossLayer model(c);
    load(model);
    nn::Recorder r;
    nn::Space tokens = r.space("tokens"), image = r.space("image");
    models::ImageRange range{r.index("from", tokens), r.index("to", tokens), r.index("sees", tokens)};
    nn::Tensor x = r.input(tokens, c.hidden, "x"), seen = r.input(image, c.hidden, "image");
    r.output(r.layer([&] {
      return models::mllama_cross_layer(r, model, c, x, models::mllama_memory(r, model, seen, 0), range);
    }));
    nn::Plan plan = make_plan(r.finish(), {.backward = nn::Backward::outputs, .recompute_all = true});
    nn::Batch batch;
    batch.set_rows(tokens, given_.ints("lengths"));
    batch.set_rows(image, given_.ints("image_lengths"));
    batch.set_index(range.from, given_.ints("from"));
    batch.set_index(range.to, given_.ints("to"));
    batch.set_index(range.sees, given_.ints("sees"));
    batch.set_input(x, given_.floats("x"));
    batch.set_input(seen, given_.floats("image"));
    std::vector<float> gradient = given_.floats("d_output");
    Engine engine(plan);
    run(engine, plan, batch,
        [&](auto roots) { std::copy(gradient.begin(), gradient.end(), roots[0].gradient); });
    found_.add("output", engine.output(0));
  }

  static nn::Plan make_plan(nn::Recording recording, nn::PlanOptions options) {
    return nn::make_plan(std::move(recording), Engine::options(std::move(options)));
  }

  void forward(const nn::Plan& plan, nn::Batch& batch) {
    Engine engine(plan);
    batch.derive(plan.recording);
    engine.run(batch);
    found_.add("output", engine.output(0));
  }

  void losses(const nn::Plan& plan, nn::Batch& batch) {
    Engine engine(plan);
    run(engine, plan, batch, {});
    double loss = engine.loss();
    found_.add<double>("loss", {&loss, 1});
  }

  void run(Engine& engine, const nn::Plan& plan, nn::Batch& batch, const nn::RootLossOf<Real>& loss) {
    batch.derive(plan.recording);
    engine.run(batch, loss);
    for (size_t w = 0; w < plan.uses.size(); w++) {
      if (!plan.uses[w].trained) continue;
      const nn::Weight& weight = *plan.recording.weights[w];
      std::string part = weight.share.count > 1 ? "#" + std::to_string(weight.share.index) : "";
      found_.add<Real>("grad/" + weight.name + part, engine.gradient(static_cast<int>(w)));
    }
  }

  format::Json config_json_;
  format::JsonView config_;
  nn::Safetensors checkpoint_;
  Given given_;
  Found& found_;
};

}  // namespace
}  // namespace textmill

int main(int count, char** arguments) {
  using namespace textmill;
  if (count == 1) {
    for (nn::kernel::Path path : nn::kernel::supported_paths()) std::printf("%s\n", nn::kernel::name(path));
    return 0;
  }
  if (count != 4) return 2;
  try {
    Found found;
    auto run = [&]<class Engine>() {
      Comparison<Engine>(arguments[1], found).run();
      found.write(arguments[2]);
      return 0;
    };
    std::string engine = arguments[3];
    if (engine == "single") return run.operator()<NaiveEngine<float>>();
    if (engine == "double") return run.operator()<NaiveEngine<double>>();
    if (engine == "f32") return run.operator()<CpuEngine<nn::Format::f32>>();
    if (engine == "bf16") return run.operator()<CpuEngine<nn::Format::bf16>>();
    return 2;
  } catch (const base::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return base::exit_status(error.kind());
  }
}
