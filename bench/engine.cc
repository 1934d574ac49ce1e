// The CPU engine without anything around it: training steps and forward passes of encoders with random weights.
//
//   bench_engine [--model minilm|bert-base] [--precision bf16|f32] [--threads 2] [--steps 8]
//
// Prints, per row, milliseconds (median), sequences per second and GFLOP/s of products and attention.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "models/bert.h"
#include "nn/cpu.h"
#include "train/adamw.h"

namespace textmill {
namespace {

struct Options {
  std::string model = "minilm", precision = "bf16";
  int threads = 2, steps = 8;
};

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i + 1 < argc; i += 2) {
    std::string flag = argv[i];
    if (flag == "--model") o.model = argv[i + 1];
    if (flag == "--precision") o.precision = argv[i + 1];
    if (flag == "--threads") o.threads = std::atoi(argv[i + 1]);
    if (flag == "--steps") o.steps = std::atoi(argv[i + 1]);
  }
  return o;
}

models::BertConfig config(const std::string& model) {
  models::BertConfig c{.vocab = 30522,
                       .hidden = 768,
                       .heads = 12,
                       .mlp = 3072,
                       .layers = 12,
                       .positions = 512,
                       .types = 2,
                       .labels = 2};
  if (model == "minilm") c.hidden = 384, c.mlp = 1536, c.layers = 6;
  return c;
}

/// Lengths as MRPC's pairs have them: mean 53, from 20 to 100.
std::vector<int32_t> mrpc_lengths(int count) {
  std::mt19937 random(1);
  std::normal_distribution<double> length(53, 14);
  std::vector<int32_t> lengths(count);
  for (int32_t& l : lengths) l = std::clamp(static_cast<int>(length(random)), 20, 100);
  return lengths;
}

class Bench {
 public:
  explicit Bench(const Options& options)
      : options_(options), model_(config(options.model)), pool_(options.threads) {
    std::mt19937 random(2);
    for (nn::Weight* weight : nn::fields(model_)) {
      for (float& value : weight->own()) value = std::uniform_real_distribution<float>(-0.04F, 0.04F)(random);
    }
  }

  void forward(const char* name, const std::vector<int32_t>& lengths) {
    auto [recording, inputs] = models::record_classifier(model_, {});
    nn::Plan plan = nn::make_plan(std::move(recording), {.format = format(), .patterns = nn::cpu_patterns()});
    nn::Cpu engine(plan, pool_);
    nn::Batch batch = filled(inputs, lengths, plan);
    measure(name, lengths, plan.flops(batch), [&] { engine.run(batch); });
  }

  void train(const char* name, const std::vector<int32_t>& lengths) {
    auto [recording, inputs] = models::record_classifier(model_, {.training = true});
    nn::Plan plan = nn::make_plan(std::move(recording), {.backward = nn::Backward::outputs,
                                                         .fuse_head = false,
                                                         .save_slope = true,
                                                         .format = format(),
                                                         .patterns = nn::cpu_patterns()});
    nn::Cpu engine(plan, pool_);
    nn::Batch batch = filled(inputs, lengths, plan);
    std::vector<train::Parameter> parameters;
    for (size_t w = 0; w < plan.recording.weights.size(); w++) {
      nn::Weight& weight = *plan.recording.weights[w];
      parameters.push_back({weight.own(), engine.gradient(static_cast<int>(w)), weight.cols,
                            !weight.is_vector, plan.uses[w].gathered});
    }
    train::AdamW adamw(parameters, {.weight_decay = 0.01}, pool_);
    auto loss = [](std::span<const nn::RootRows<float>> roots) {
      for (int i = 0; i < roots[0].rows * roots[0].cols; i++) roots[0].gradient[i] = i % 2 ? 0.01F : -0.01F;
    };
    measure(name, lengths, plan.flops(batch), [&] {
      for (size_t w = 0; w < parameters.size(); w++) {
        if (parameters[w].by_rows) adamw.prepare(w, batch.index(plan.uses[w].gathered_by[0]));
      }
      engine.run(batch, loss);
      adamw.step(1e-5, 1 / std::max(1.0, adamw.gradient_norm()));
      engine.refresh();
    });
  }

 private:
  nn::Format format() const { return options_.precision == "f32" ? nn::Format::f32 : nn::Format::bf16; }

  static nn::Batch filled(const models::EncoderInputs& inputs, const std::vector<int32_t>& lengths,
                          const nn::Plan& plan) {
    int tokens = std::accumulate(lengths.begin(), lengths.end(), 0);
    std::vector<int32_t> ids(tokens), types(tokens);
    for (int i = 0; i < tokens; i++) ids[i] = 1000 + i * 37 % 20000;
    nn::Batch batch;
    batch.set_rows(inputs.tokens, lengths);
    batch.set_index(inputs.ids, ids);
    batch.set_index(inputs.types, types);
    batch.derive(plan.recording);
    return batch;
  }

  void measure(const char* name, const std::vector<int32_t>& lengths, int64_t flops,
               const std::function<void()>& step) const {
    std::vector<double> seconds;
    for (int i = 0; i < options_.steps + 2; i++) {
      auto begin = std::chrono::steady_clock::now();
      step();
      seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    std::sort(seconds.begin() + 2, seconds.end());
    double median = seconds[2 + options_.steps / 2];
    std::printf("%s %s %-32s %8.2f ms %8.1f /s %8.1f GFLOP/s\n", options_.model.c_str(),
                options_.precision.c_str(), name, median * 1e3, static_cast<double>(lengths.size()) / median,
                static_cast<double>(flops) * 1e-9 / median);
    std::fflush(stdout);
  }

  Options options_;
  models::TextClassifier model_;
  nn::kernel::Pool pool_;
};

}  // namespace
}  // namespace textmill

int main(int argc, char** argv) {
  auto options = textmill::parse(argc, argv);
  textmill::Bench bench(options);
  bench.train("train, 32 sequences of MRPC", textmill::mrpc_lengths(32));
  for (int length : {16, 64, 128, 512})
    bench.forward(("forward, " + std::to_string(length) + " tokens").c_str(), {length});
  bench.forward("forward, 8 sequences of MRPC", textmill::mrpc_lengths(8));
}
