// The CPU engine against its naive twin on every family: outputs, losses and gradients, in f32 and bf16, on each path of
// this machine.

#include "nn/cpu.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

#include "models/bert.h"
#include "models/gpt_neox.h"
#include "models/llama.h"
#include "models/mllama.h"
#include "models/t5.h"
#include "nn/naive.h"

namespace textmill::models {
namespace {

using nn::Batch, nn::Plan, nn::PlanOptions, nn::Recording;

void randomize(std::span<nn::Weight* const> weights, float scale = 0.3F) {
  std::mt19937 random(7);
  std::uniform_real_distribution<float> uniform(-scale, scale);
  for (nn::Weight* weight : weights) {
    for (float& value : weight->own())
      value = uniform(random) + (weight->is_vector && weight->name.ends_with("orm.weight") ? 1.0F : 0.0F);
  }
}

std::vector<int32_t> numbers(int count, int below, int seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> values(count);
  for (int32_t& value : values) value = static_cast<int32_t>(random() % below);
  return values;
}
std::vector<float> floats(int count, int seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = std::uniform_real_distribution<float>(-1, 1)(random);
  return values;
}

/// What a run leaves: outputs, the loss, gradients by weight.
struct Found {
  std::vector<std::vector<float>> outputs, gradients;
  double loss = 0;
  bool operator==(const Found&) const = default;
};

/// A fixed linear function of the outputs.
void probe(std::span<const nn::RootRows<float>> roots) {
  for (auto [output, gradient, rows, cols] : roots) {
    for (int i = 0; gradient && i < rows * cols; i++) gradient[i] = std::sin(static_cast<float>(i) * 0.7F);
  }
}

template <class Engine>
Found run(Engine& engine, const Plan& plan, Batch batch) {
  batch.seed = 11;
  batch.derive(plan.recording);
  nn::RootLoss root;
  if (plan.options.backward == nn::Backward::outputs) root = probe;
  engine.run(batch, root);
  Found found{.loss = engine.loss()};
  for (size_t i = 0; i < plan.recording.outputs.size(); i++) {
    auto output = engine.output(static_cast<int>(i));
    found.outputs.emplace_back(output.begin(), output.end());
  }
  for (size_t w = 0; w < plan.recording.weights.size(); w++) {
    auto gradient = engine.gradient(static_cast<int>(w));
    found.gradients.emplace_back(gradient.begin(), gradient.end());
  }
  return found;
}

double norm(std::span<const float> x) {
  return std::sqrt(std::inner_product(x.begin(), x.end(), x.begin(), 0.0));
}

/// The distance of two vectors, relative to the length of the second; what is nothing but rounding (the gradient of a
/// key's bias is 0) counts against `floor`.
void expect_close(std::span<const float> found, std::span<const float> expected, double tolerance,
                  double floor) {
  ASSERT_EQ(found.size(), expected.size());
  std::vector<float> difference(found.size());
  for (size_t i = 0; i < found.size(); i++) difference[i] = found[i] - expected[i];
  EXPECT_LE(norm(difference), tolerance * std::max(norm(expected), floor));
}

void expect_close(const Found& found, const Found& expected, double tolerance) {
  EXPECT_NEAR(found.loss, expected.loss, tolerance * (std::abs(expected.loss) + 1e-3));
  double floor = 0;
  for (const auto& gradient : expected.gradients) floor = std::max(floor, 0.02 * norm(gradient));
  for (size_t i = 0; i < expected.outputs.size(); i++) {
    SCOPED_TRACE("output " + std::to_string(i));
    expect_close(found.outputs[i], expected.outputs[i], tolerance, 0);
  }
  for (size_t w = 0; w < expected.gradients.size(); w++) {
    SCOPED_TRACE("weight " + std::to_string(w));
    expect_close(found.gradients[w], expected.gradients[w], tolerance, floor);
  }
}

class CpuTest : public testing::TestWithParam<nn::kernel::Path> {
 protected:
  const nn::kernel::Kernels& kernels() const { return nn::kernel::kernels(GetParam()); }

  /// The engine in all its ways against the naive one with none of the planner's passes.
  void check(const Recording& recording, const Batch& batch, nn::Backward backward) {
    Plan plain =
        nn::make_plan(recording, {.backward = backward, .narrow = false, .alias = false, .fuse_head = false});
    nn::Naive<float> naive(plain);
    Found expected = run(naive, plain, batch);
    PlanOptions best{
        .backward = backward, .fuse_head = false, .save_slope = true, .patterns = nn::cpu_patterns()};
    PlanOptions recomputed = best,
                plainest{.backward = backward, .narrow = false, .alias = false, .fuse_head = false};
    recomputed.recompute_all = true;
    for (const PlanOptions& options : {best, recomputed, plainest}) {
      check_format(recording, batch, options, expected, nn::Format::f32, 2e-4);
      check_format(recording, batch, options, expected, nn::Format::bf16, 0.06);
    }
  }

 private:
  void check_format(const Recording& recording, const Batch& batch, PlanOptions options,
                    const Found& expected, nn::Format format, double tolerance) {
    SCOPED_TRACE(std::string(format == nn::Format::f32 ? "f32" : "bf16") + (options.recompute_all
                                                                                ? ", recomputed"
                                                                            : options.alias ? ""
                                                                                            : ", no pass"));
    options.format = format;
    Plan plan = nn::make_plan(recording, options);
    std::vector<Found> found;
    for (int threads : {1, 2, 3}) {
      nn::kernel::Pool pool(threads);
      nn::Cpu engine(plan, pool, kernels());
      found.push_back(run(engine, plan, batch));
      engine.clear_gradients();
      EXPECT_TRUE(run(engine, plan, batch) == found[0]) << threads << " threads, second run";
    }
    EXPECT_TRUE(found[0] == found[1] && found[0] == found[2]);
    expect_close(found[0], expected, tolerance);
  }
};

BertConfig tiny_bert() {
  return {.vocab = 40,
          .hidden = 48,
          .heads = 3,
          .mlp = 70,
          .layers = 2,
          .positions = 64,
          .types = 2,
          .dropout = 0.1,
          .attention_dropout = 0.2,
          .head_dropout = 0.1,
          .labels = 3};
}

struct BertCase {
  explicit BertCase(bool training, std::vector<int32_t> lengths = {5, 1, 37, 16}) : model(tiny_bert()) {
    auto weights = nn::fields(model);
    randomize(weights);
    auto made = record_classifier(model, {.training = training});
    recording = std::move(made.recording);
    inputs = made.inputs;
    set(batch, lengths, 3);
  }
  void set(Batch& to, const std::vector<int32_t>& lengths, int seed) {
    int tokens = std::accumulate(lengths.begin(), lengths.end(), 0);
    to.set_rows(inputs.tokens, lengths);
    to.set_index(inputs.ids, numbers(tokens, 40, seed));
    to.set_index(inputs.types, numbers(tokens, 2, seed + 1));
  }
  TextClassifier model;
  Recording recording;
  EncoderInputs inputs;
  Batch batch;
};

TEST_P(CpuTest, BertClassifier) {
  BertCase inference(false), training(true);
  check(inference.recording, inference.batch, nn::Backward::none);
  check(training.recording, training.batch, nn::Backward::outputs);
}

TEST_P(CpuTest, FrozenWeightsAndAdapters) {
  BertCase c(false);
  TextClassifier& model = c.model;
  auto weights = nn::fields(model);
  for (nn::Weight* weight : weights) weight->trainable = weight->is_vector;  // biases and norms alone
  auto biases = record_classifier(model, {});
  check(biases.recording, c.batch, nn::Backward::outputs);
  for (nn::Weight* weight : weights) weight->trainable = false;
  for (auto& layer : model.body.layers) {
    for (nn::Linear* linear : {&layer.query, &layer.value, &layer.down}) {
      linear->adapter = std::make_unique<nn::Adapter>(linear->weight.cols, linear->weight.rows, 4, 0.5);
      nn::Weight* parts[] = {&linear->adapter->a, &linear->adapter->b};
      randomize(parts);
    }
  }
  auto adapted = record_classifier(model, {});
  check(adapted.recording, c.batch, nn::Backward::outputs);
}

/// Byte for byte: a sequence's logits do not depend on its neighbours.
TEST_P(CpuTest, BatchEqualsSingle) {
  for (nn::Format format : {nn::Format::f32, nn::Format::bf16}) {
    BertCase c(false);
    Plan plan = nn::make_plan(c.recording, {.format = format, .patterns = nn::cpu_patterns()});
    nn::kernel::Pool pool(2);
    nn::Cpu engine(plan, pool, kernels());
    std::vector<int32_t> lengths = {5, 1, 37, 16, 12, 29};
    c.set(c.batch, lengths, 9);
    std::vector<float> together = run(engine, plan, c.batch).outputs[0];
    auto ids = numbers(100, 40, 9), types = numbers(100, 2, 10);
    int first = 0, row = 0;
    for (int32_t length : lengths) {
      Batch one;
      one.set_rows(c.inputs.tokens, {&length, 1});
      one.set_index(c.inputs.ids, std::span(ids).subspan(first, length));
      one.set_index(c.inputs.types, std::span(types).subspan(first, length));
      auto alone = run(engine, plan, one).outputs[0];
      EXPECT_EQ(std::memcmp(alone.data(), &together[row], sizeof(float) * 3), 0) << "sequence of " << length;
      first += length;
      row += 3;
    }
  }
}

LlamaConfig tiny_llama() {
  return {.vocab = 50,
          .hidden = 48,
          .heads = 4,
          .kv_heads = 2,
          .head_dim = 12,
          .mlp = 40,
          .layers = 2,
          .rotary = {12, nn::rotary_frequencies(12, 10000)}};
}

/// A decoder with the loss of each next token.
template <class Model, class Body, class Logits>
void check_decoder(Model& model, Body body, Logits logits, auto&& check) {
  randomize(nn::fields(model));
  nn::Recorder r({.training = true});
  nn::Space tokens = r.space("tokens");
  nn::Index ids = r.index("ids", tokens), labelled = r.selection("labelled", tokens),
            labels = r.index("labels", labelled.of);
  nn::Tensor weight = r.input(labelled.of, 1, "row weight");
  nn::Tensor x = r.rows(body(r, model, ids), labelled);
  r.cross_entropy(logits(r, model, x), labels, weight);
  Batch batch;
  batch.set_rows(tokens, std::vector<int32_t>{9, 4, 20});
  batch.set_index(ids, numbers(33, 50, 1));
  batch.set_index(labelled, std::vector<int32_t>{0, 3, 8, 9, 20, 32});
  batch.set_index(labels, std::vector<int32_t>{7, 1, -1, 4, 49, 0});
  batch.set_input(weight, floats(6, 2));
  check(r.finish(), batch, nn::Backward::losses);
}

TEST_P(CpuTest, LlamaTrains) {
  Llama model(tiny_llama());
  check_decoder(model, llama, llama_logits, [&](auto&&... x) { check(x...); });
}

TEST_P(CpuTest, ParallelResidualTrains) {
  GptNeox model({.vocab = 50,
                 .hidden = 48,
                 .heads = 4,
                 .head_dim = 12,
                 .mlp = 64,
                 .layers = 2,
                 .dropout = 0.1,
                 .rotary = {12, nn::rotary_frequencies(4, 10000)}});
  check_decoder(model, gpt_neox, gpt_neox_logits, [&](auto&&... x) { check(x...); });
}

/// Prefill, decode and both in one batch, with the cache, against the naive engine.
TEST_P(CpuTest, LlamaWithCache) {
  Llama model(tiny_llama());
  randomize(nn::fields(model));
  nn::Recorder r({.cached = true});
  nn::Space tokens = r.space("tokens");
  nn::Index ids = r.index("ids", tokens);
  nn::Index last = r.last(tokens, r.sequences(tokens));
  r.output(llama_logits(r, model, r.rows(llama(r, model, ids), last)));
  Recording recording = r.finish();
  for (nn::Format format : {nn::Format::f32, nn::Format::bf16}) {
    Plan plain = nn::make_plan(recording, {}),
         plan = nn::make_plan(recording, {.format = format, .patterns = nn::cpu_patterns()});
    nn::Naive<float> naive(plain);
    nn::kernel::Pool pool(2);
    nn::Cpu engine(plan, pool, kernels());
    struct Turn {
      std::vector<int32_t> lengths, past, caches;
    };
    for (const Turn& turn :
         {Turn{{7, 3}, {0, 0}, {0, 1}}, {{1, 1}, {7, 3}, {0, 1}}, {{1, 5, 2}, {8, 0, 4}, {0, 2, 1}}}) {
      Batch batch;
      batch.set_rows(tokens, turn.lengths, turn.past);
      batch.set_index(
          ids, numbers(std::accumulate(turn.lengths.begin(), turn.lengths.end(), 0), 50, turn.past[0]));
      batch.caches = turn.caches;
      expect_close(run(engine, plan, batch), run(naive, plain, batch),
                   format == nn::Format::f32 ? 2e-4 : 0.05);
    }
  }
}

TEST_P(CpuTest, T5Trains) {
  T5 model({.vocab = 50,
            .hidden = 48,
            .heads = 3,
            .head_dim = 10,
            .mlp = 60,
            .encoder_layers = 2,
            .decoder_layers = 2,
            .buckets = 8,
            .max_distance = 20,
            .activation = nn::Activation::gelu_tanh,
            .gated = true});
  randomize(nn::fields(model), 0.12F);  // its scores are not scaled: larger ones amplify bf16's rounding
  nn::Recorder r({.training = true});
  nn::Space tokens = r.space("tokens"), targets = r.space("targets");
  nn::Index ids = r.index("ids", tokens), target_ids = r.index("target ids", targets),
            labels = r.index("labels", targets);
  nn::Tensor weight = r.input(targets, 1, "row weight");
  auto memories = t5_remember(r, model, t5_encode(r, model, ids));
  nn::Tensor logits = t5_logits(r, model, t5_decode(r, model, target_ids, memories));
  r.cross_entropy(logits, labels, weight);
  r.output(logits);
  Batch batch;
  batch.set_rows(tokens, std::vector<int32_t>{30, 6});
  batch.set_rows(targets, std::vector<int32_t>{4, 11});
  batch.set_index(ids, numbers(36, 50, 1));
  batch.set_index(target_ids, numbers(15, 50, 2));
  batch.set_index(labels, numbers(15, 50, 3));
  batch.set_input(weight, floats(15, 4));
  check(r.finish(), batch, nn::Backward::losses);
}

TEST_P(CpuTest, MllamaCrossLayerTrains) {
  LlamaConfig config = tiny_llama();
  MllamaCrossLayer model(config);
  randomize(nn::fields(model));
  nn::Recorder r;
  nn::Space tokens = r.space("tokens"), image = r.space("image");
  ImageRange range{r.index("from", tokens), r.index("to", tokens), r.index("sees", tokens)};
  nn::Tensor x = r.input(tokens, config.hidden, "x"), seen = r.input(image, config.hidden, "image");
  r.output(mllama_cross_layer(r, model, config, x, mllama_memory(r, model, seen, 0), range));
  Batch batch;
  batch.set_rows(tokens, std::vector<int32_t>{4, 3});
  batch.set_rows(image, std::vector<int32_t>{6, 5});
  batch.set_index(range.from, std::vector<int32_t>{0, 2, 0, 0, 0, 3, 1});
  batch.set_index(range.to, std::vector<int32_t>{6, 5, 0, 3, 5, 5, 2});
  batch.set_index(range.sees, std::vector<int32_t>{1, 1, 0, 1, 1, 1, 1});
  batch.set_input(x, floats(7 * 48, 1));
  batch.set_input(seen, floats(11 * 48, 2));
  check(r.finish(), batch, nn::Backward::outputs);
}

TEST_P(CpuTest, SentenceEmbedding) {
  Bert model(tiny_bert());
  randomize(nn::fields(model));
  nn::Recorder r({.training = true});
  nn::Space tokens = r.space("tokens");
  EncoderInputs inputs{tokens, r.index("ids", tokens), r.index("types", tokens)};
  nn::Tensor x = encode(r, model, inputs);
  for (Pooling pooling : {Pooling::mean, Pooling::first, Pooling::last})
    r.output(r.normalize(pool(r, x, tokens, pooling)));
  Batch batch;
  batch.set_rows(tokens, std::vector<int32_t>{12, 3});
  batch.set_index(inputs.ids, numbers(15, 40, 1));
  batch.set_index(inputs.types, numbers(15, 2, 2));
  check(r.finish(), batch, nn::Backward::outputs);
}

INSTANTIATE_TEST_SUITE_P(Paths, CpuTest, testing::ValuesIn(nn::kernel::supported_paths()),
                         [](const auto& info) {
                           std::string label = nn::kernel::name(info.param);
                           std::replace(label.begin(), label.end(), '-', '_');
                           return label;
                         });

}  // namespace
}  // namespace textmill::models
