// Every family: gradients against finite differences, every plan against the plain one, generation with a
// cache against the whole pass. (Against transformers: tests/golden/test_models.py.)

#include <gtest/gtest.h>

#include <barrier>
#include <cmath>
#include <numeric>
#include <thread>

#include "models/bert.h"
#include "models/gpt_neox.h"
#include "models/llama.h"
#include "models/mllama.h"
#include "models/t5.h"
#include "nn/testing.h"

namespace textmill::models {
namespace {

using Ints = std::vector<int32_t>;
using nn::Backward, nn::Batch, nn::Index, nn::Naive, nn::Plan, nn::Recorder, nn::Space, nn::Tensor;

constexpr int kVocab = 40;
const Ints kLengths{5, 3, 7};

Ints random_ids(int count, int below = kVocab) {
  std::mt19937 random(11);
  Ints ids(count);
  for (int& id : ids) id = static_cast<int>(random() % below);
  return ids;
}

int total(const Ints& lengths) { return std::accumulate(lengths.begin(), lengths.end(), 0); }

template <class Model>
void randomize(Model& model, const std::string& prefix = "") {
  nn::testing::randomize(nn::fields(model, prefix), 3);
}

// ---- BERT and its kin

BertConfig bert_config(BertConfig::Family family = BertConfig::Family::bert) {
  BertConfig c{
      .family = family, .vocab = kVocab, .hidden = 16, .heads = 2, .mlp = 24, .layers = 2, .positions = 12};
  c.types = family == BertConfig::Family::distilbert ? 0 : 2;
  c.first_position = family == BertConfig::Family::roberta ? 2 : 0;
  c.labels = 3;
  return c;
}

Batch bert_batch(const EncoderInputs& inputs, const Ints& lengths = kLengths) {
  Batch batch;
  batch.seed = 9;
  batch.set_rows(inputs.tokens, lengths);
  batch.set_index(inputs.ids, random_ids(total(lengths)));
  batch.set_index(inputs.types, random_ids(total(lengths), 2));
  return batch;
}

class BertFamilies : public ::testing::TestWithParam<BertConfig::Family> {};

TEST_P(BertFamilies, GradientsAndPlans) {
  TextClassifier model(bert_config(GetParam()));
  randomize(model);
  auto [recording, inputs] = record_classifier(model, {.training = true});
  nn::testing::PlanCheck(recording, bert_batch(inputs)).run();
}

INSTANTIATE_TEST_SUITE_P(Bert, BertFamilies,
                         ::testing::Values(BertConfig::Family::bert, BertConfig::Family::distilbert,
                                           BertConfig::Family::roberta));

TEST(Bert, AdaptersTrainAlone) {
  TextClassifier model(bert_config());
  for (EncoderLayer& layer : model.body.layers) {
    for (nn::Linear* linear : {&layer.query, &layer.value, &layer.up}) {
      linear->adapter = std::make_unique<nn::Adapter>(linear->weight.cols, linear->weight.rows, 2, 2.0);
    }
  }
  randomize(model);
  for (nn::Weight* weight : nn::fields(model))
    weight->trainable = weight->name.find("lora") != std::string::npos;
  auto [recording, inputs] = record_classifier(model, {.training = true});
  nn::testing::PlanCheck(recording, bert_batch(inputs)).run();
}

TEST(Bert, SentencesAgainstSentences) {
  Bert model(bert_config());
  randomize(model);
  Recorder r({.training = true});
  EncoderInputs inputs[2];
  Tensor embedding[2];
  for (int tower = 0; tower < 2; tower++) {  // one body, recorded twice
    EncoderInputs& in = inputs[tower];
    in.tokens = r.space(tower ? "documents" : "queries");
    in.ids = r.index("ids", in.tokens);
    in.types = r.index("types", in.tokens);
    embedding[tower] = r.normalize(pool(r, encode(r, model, in), in.tokens, Pooling::mean));
  }
  Index positive = r.index("positive", r.space_of(embedding[0]), r.space_of(embedding[1]));
  Tensor row_weight = r.input(positive.of, 1, "weight");
  r.contrastive(embedding[0], embedding[1], positive, row_weight, 20);
  Batch batch = bert_batch(inputs[0]);
  Ints documents{4, 6, 2, 3};
  batch.set_rows(inputs[1].tokens, documents);
  batch.set_index(inputs[1].ids, random_ids(total(documents), 30));
  batch.set_index(inputs[1].types, Ints(total(documents), 0));
  batch.set_index(positive, Ints{2, 0, 3});
  batch.set_input(row_weight, std::vector<float>(3, 0.25f));
  nn::testing::PlanCheck(r.finish(), batch).run();
}

/// Gradients of the sum over logits · fixed numbers, of one run.
struct Gradients {
  explicit Gradients(const Plan& plan) : engine(plan) {}
  void add(Batch batch, const Plan& plan, int first_sequence) {
    batch.derive(plan.recording);
    engine.run(batch, [&](std::span<const nn::RootRows<double>> roots) {
      auto [output, gradient, rows, cols] = roots[0];
      for (int i = 0; i < rows * cols; i++) gradient[i] = std::sin(first_sequence * cols + i + 1.0);
    });
  }
  Naive<double> engine;
};

TEST(Bert, PartsOfABatchAddUpToIt) {
  TextClassifier model(bert_config());
  randomize(model);
  auto [recording, inputs] = record_classifier(model, {.training = true});
  Plan plan = nn::make_plan(recording, {.backward = Backward::outputs});
  Ints ids = random_ids(total(kLengths)), types = random_ids(total(kLengths), 2);
  auto part = [&](int first, int last) {
    std::vector<uint64_t> keys;
    for (int s = first; s < last; s++) keys.push_back(100 + s);
    Ints lengths(kLengths.begin() + first, kLengths.begin() + last);
    int begin = std::accumulate(kLengths.begin(), kLengths.begin() + first, 0), count = total(lengths);
    Batch batch;
    batch.seed = 4;
    batch.set_rows(inputs.tokens, lengths, {}, keys);
    batch.set_index(inputs.ids, Ints(ids.begin() + begin, ids.begin() + begin + count));
    batch.set_index(inputs.types, Ints(types.begin() + begin, types.begin() + begin + count));
    return batch;
  };
  Gradients whole(plan), parts(plan);
  whole.add(part(0, 3), plan, 0);
  parts.add(part(0, 1), plan, 0);
  parts.add(part(1, 3), plan, 1);
  for (size_t w = 0; w < plan.recording.weights.size(); w++) {
    auto expected = whole.engine.gradient(static_cast<int>(w)),
         found = parts.engine.gradient(static_cast<int>(w));
    for (size_t i = 0; i < expected.size(); i++) ASSERT_NEAR(found[i], expected[i], 1e-12);
  }
}

/// The rows or columns of `whole` that a rank holds.
std::vector<float> slice(nn::Weight& whole, const nn::Weight& part, int rank) {
  std::span<float> values = whole.own();
  int64_t row0 = part.rows < whole.rows ? rank * part.rows : 0,
          col0 = part.cols < whole.cols ? rank * part.cols : 0;
  std::vector<float> out;
  for (int64_t row = 0; row < part.rows; row++) {
    for (int64_t col = 0; col < part.cols; col++)
      out.push_back(values[(row0 + row) * whole.cols + col0 + col]);
  }
  return out;
}

TEST(Bert, TwoRanksEqualOne) {
  constexpr int kRanks = 2;
  Bert one(bert_config());
  randomize(one);
  auto record = [](Bert& model, int ranks, int rank, EncoderInputs& in) {
    Recorder r({.training = true, .ranks = ranks, .rank = rank});
    in.tokens = r.space("tokens");
    in.ids = r.index("ids", in.tokens);
    in.types = r.index("types", in.tokens);
    r.output(r.rows(encode(r, model, in), r.first(in.tokens, r.sequences(in.tokens))));
    return nn::make_plan(r.finish(), {.backward = Backward::outputs, .recompute = {0}});
  };
  EncoderInputs inputs;
  Plan plan = record(one, 1, 0, inputs);
  Gradients expected(plan);
  expected.add(bert_batch(inputs), plan, 0);

  std::vector<std::unique_ptr<Bert>> models;
  std::vector<Plan> plans;
  std::vector<std::unique_ptr<Gradients>> found;
  for (int rank = 0; rank < kRanks; rank++) {
    models.push_back(std::make_unique<Bert>(bert_config(), kRanks));
    auto from = nn::fields(one), to = nn::fields(*models[rank]);
    for (size_t w = 0; w < to.size(); w++)
      std::ranges::copy(slice(*from[w], *to[w], rank), to[w]->own().begin());
    EncoderInputs same;
    plans.push_back(record(*models[rank], kRanks, rank, same));
  }
  std::barrier<> meet(kRanks);
  std::vector<std::span<double>> shares(kRanks);
  {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < kRanks; rank++) found.push_back(std::make_unique<Gradients>(plans[rank]));
    for (int rank = 0; rank < kRanks; rank++) {
      found[rank]->engine.all_reduce = [&, rank](std::span<double> values) {
        shares[rank] = values;
        meet.arrive_and_wait();
        std::vector<double> sum(values.size());
        for (auto share : shares)
          std::transform(sum.begin(), sum.end(), share.begin(), sum.begin(), std::plus<>());
        meet.arrive_and_wait();
        std::ranges::copy(sum, values.begin());
        meet.arrive_and_wait();
      };
      threads.emplace_back([&, rank] { found[rank]->add(bert_batch(inputs), plans[rank], 0); });
    }
  }
  for (int rank = 0; rank < kRanks; rank++) {
    auto y = found[rank]->engine.output(0), whole = expected.engine.output(0);
    for (size_t i = 0; i < y.size(); i++) ASSERT_NEAR(y[i], whole[i], 1e-12);
    for (size_t w = 0; w < plan.recording.weights.size(); w++) {
      nn::Weight full(plan.recording.weights[w]->rows, plan.recording.weights[w]->cols);
      auto gradient = expected.engine.gradient(static_cast<int>(w));
      std::ranges::copy(gradient, full.own().begin());
      auto part = slice(full, *plans[rank].recording.weights[w], rank);
      auto mine = found[rank]->engine.gradient(static_cast<int>(w));
      ASSERT_EQ(mine.size(), part.size());
      for (size_t i = 0; i < part.size(); i++) {
        ASSERT_NEAR(mine[i], part[i], 1e-6 * (1 + std::abs(part[i]))) << plan.recording.weights[w]->name;
      }
    }
  }
}

// ---- decoders

LlamaConfig llama_config() {
  LlamaConfig c{
      .vocab = kVocab, .hidden = 16, .heads = 4, .kv_heads = 2, .head_dim = 4, .mlp = 24, .layers = 2};
  c.rotary = {4, nn::rotary_frequencies(4, 10000)};
  return c;
}

GptNeoxConfig gpt_neox_config() {
  GptNeoxConfig c{
      .vocab = kVocab, .hidden = 16, .heads = 2, .head_dim = 8, .mlp = 24, .layers = 2, .dropout = 0.1};
  c.attention_dropout = 0.1;
  c.rotary = {8, nn::rotary_frequencies(4, 10000)};
  return c;
}

/// The loss of some next tokens.
template <class Model>
void check_decoder(Model& model, auto body, auto logits) {
  randomize(model);
  Recorder r({.training = true});
  Space tokens = r.space("tokens");
  Index ids = r.index("ids", tokens), labelled = r.selection("labelled", tokens);
  Index labels = r.index("labels", labelled.of);
  Tensor row_weight = r.input(labelled.of, 1, "weight");
  r.cross_entropy(logits(r, model, r.rows(body(r, model, ids), labelled)), labels, row_weight);
  Batch batch;
  batch.set_rows(tokens, kLengths);
  batch.set_index(ids, random_ids(15));
  batch.set_index(labelled, Ints{0, 3, 6, 9, 13});
  batch.set_index(labels, random_ids(5));
  batch.set_input(row_weight, std::vector<float>(5, 0.2f));
  nn::testing::PlanCheck(r.finish(), batch).run();
}

TEST(Llama, GradientsAndPlans) {
  Llama model(llama_config());
  check_decoder(model, llama, llama_logits);
}

TEST(Llama, TiedAndBiased) {
  LlamaConfig c = llama_config();
  c.tied = c.attention_bias = c.mlp_bias = true;
  Llama model(c);
  check_decoder(model, llama, llama_logits);
}

TEST(GptNeox, GradientsAndPlans) {
  for (bool parallel : {true, false}) {
    GptNeoxConfig c = gpt_neox_config();
    c.parallel = parallel;
    GptNeox model(c);
    check_decoder(model, gpt_neox, gpt_neox_logits);
  }
}

/// All logits in one pass, against one recording with a cache that is run for prefill, for decoding, and for
/// both at once.
template <class Model>
void check_generation(Model& model, auto body, auto logits) {
  randomize(model);
  const Ints ids = random_ids(15);
  Recorder whole;
  Space all = whole.space("tokens");
  Index all_ids = whole.index("ids", all);
  whole.output(logits(whole, model, body(whole, model, all_ids)));
  Plan whole_plan = nn::make_plan(whole.finish(), {});
  Batch whole_batch;
  whole_batch.set_rows(all, kLengths);
  whole_batch.set_index(all_ids, ids);
  whole_batch.derive(whole_plan.recording);
  Naive<double> reference(whole_plan);
  reference.run(whole_batch);

  Recorder r({.cached = true});
  Space tokens = r.space("tokens");
  Index id = r.index("ids", tokens);
  r.output(logits(r, model, r.rows(body(r, model, id), r.last(tokens, r.sequences(tokens)))));
  Plan plan = nn::make_plan(r.finish(), {.patterns = nn::testing::sample_patterns()});
  Naive<double> engine(plan);
  Ints past(3, 0);
  // How many tokens of each sequence come in each batch: prefill alone, both at once, decoding alone.
  for (const Ints& take : {Ints{3, 2, 0}, Ints{1, 0, 4}, Ints{1, 1, 1}, Ints{0, 0, 1}, Ints{0, 0, 1}}) {
    Batch batch;
    Ints lengths, before, chosen, rows;
    for (int s = 0, begin = 0; s < 3; begin += kLengths[s++]) {
      if (take[s] == 0) continue;
      lengths.push_back(take[s]);
      before.push_back(past[s]);
      batch.caches.push_back(70 + s);
      for (int i = 0; i < take[s]; i++) chosen.push_back(ids[begin + past[s] + i]);
      past[s] += take[s];
      rows.push_back(begin + past[s] - 1);
    }
    batch.set_rows(tokens, lengths, before);
    batch.set_index(id, chosen);
    batch.derive(plan.recording);
    engine.run(batch);
    auto found = engine.output(0), expected = reference.output(0);
    for (size_t row = 0; row < rows.size(); row++) {
      for (int v = 0; v < kVocab; v++)
        ASSERT_NEAR(found[row * kVocab + v], expected[rows[row] * kVocab + v], 1e-12);
    }
  }
  EXPECT_EQ(past, kLengths);
}

TEST(Llama, GeneratesWithACache) {
  Llama model(llama_config());
  check_generation(model, llama, llama_logits);
}

TEST(GptNeox, GeneratesWithACache) {
  GptNeox model(gpt_neox_config());
  check_generation(model, gpt_neox, gpt_neox_logits);
}

// ---- T5

T5Config t5_config(bool gated) {
  T5Config c{.vocab = kVocab,
             .hidden = 16,
             .heads = 2,
             .head_dim = 6,
             .mlp = 24,
             .encoder_layers = 2,
             .decoder_layers = 2};
  c.buckets = 8;
  c.max_distance = 10;
  c.gated = gated;
  c.activation = gated ? nn::Activation::gelu_tanh : nn::Activation::relu;
  return c;
}

struct T5Recording {
  Recorder r;
  Space tokens, targets;
  Index ids, target_ids;
  Tensor logits;

  T5Recording(T5& model, nn::RecorderOptions options) : r(options) {
    tokens = r.space("tokens");
    targets = r.space("targets");
    ids = r.index("ids", tokens);
    target_ids = r.index("target ids", targets);
    logits =
        t5_logits(r, model, t5_decode(r, model, target_ids, t5_remember(r, model, t5_encode(r, model, ids))));
  }
};

const Ints kTargetLengths{4, 6, 2};

TEST(T5, GradientsAndPlans) {
  for (bool gated : {true, false}) {
    T5 model(t5_config(gated));
    randomize(model);
    T5Recording recorded(model, {.training = true});
    Recorder& r = recorded.r;
    Index labels = r.index("labels", recorded.targets);
    Tensor row_weight = r.input(recorded.targets, 1, "weight");
    r.cross_entropy(recorded.logits, labels, row_weight);
    Batch batch;
    batch.set_rows(recorded.tokens, kLengths);
    batch.set_rows(recorded.targets, kTargetLengths);
    batch.set_index(recorded.ids, random_ids(15));
    batch.set_index(recorded.target_ids, random_ids(12));
    batch.set_index(labels, random_ids(12));
    batch.set_input(row_weight, std::vector<float>(12, 1.0f / 12));
    nn::testing::PlanCheck(r.finish(), batch).run();
  }
}

TEST(T5, EncodesOnceAndDecodesStepByStep) {
  T5 model(t5_config(true));
  randomize(model);
  const Ints ids = random_ids(15), target_ids = random_ids(12);
  T5Recording joint(model, {});
  joint.r.output(joint.logits);
  Plan joint_plan = nn::make_plan(joint.r.finish(), {});
  Batch joint_batch;
  joint_batch.set_rows(joint.tokens, kLengths);
  joint_batch.set_rows(joint.targets, kTargetLengths);
  joint_batch.set_index(joint.ids, ids);
  joint_batch.set_index(joint.target_ids, target_ids);
  joint_batch.derive(joint_plan.recording);
  Naive<double> reference(joint_plan);
  reference.run(joint_batch);

  Recorder e({.cached = true});
  Space tokens = e.space("tokens");
  Index encoder_ids = e.index("ids", tokens);
  t5_remember(e, model, t5_encode(e, model, encoder_ids));
  Plan encoder_plan = nn::make_plan(e.finish(), {});
  Batch batch;
  batch.caches = {0, 1, 2};
  batch.set_rows(tokens, kLengths);
  batch.set_index(encoder_ids, ids);
  batch.derive(encoder_plan.recording);
  Naive<double> encoder(encoder_plan);
  encoder.run(batch);

  Recorder r({.cached = true});
  Space targets = r.space("targets");
  Index id = r.index("ids", targets);
  r.output(t5_logits(r, model, t5_decode(r, model, id, t5_recall(r, model))));
  Plan plan = nn::make_plan(r.finish(), {});
  Naive<double> decoder(plan);
  decoder.caches = encoder.caches;
  for (int step = 0; step < 6; step++) {
    Batch next;
    Ints lengths, past, chosen, rows;
    for (int s = 0, begin = 0; s < 3; begin += kTargetLengths[s++]) {
      if (step >= kTargetLengths[s]) continue;
      lengths.push_back(1);
      past.push_back(step);
      chosen.push_back(target_ids[begin + step]);
      rows.push_back(begin + step);
      next.caches.push_back(s);
    }
    next.set_rows(targets, lengths, past);
    next.set_index(id, chosen);
    next.derive(plan.recording);
    decoder.run(next);
    auto found = decoder.output(0), expected = reference.output(0);
    for (size_t row = 0; row < rows.size(); row++) {
      for (int v = 0; v < kVocab; v++)
        ASSERT_NEAR(found[row * kVocab + v], expected[rows[row] * kVocab + v], 1e-12);
    }
  }
}

// ---- mllama

TEST(Mllama, CrossLayerGradientsAndPlans) {
  LlamaConfig c = llama_config();
  MllamaCrossLayer model(c);
  nn::Linear text(c.hidden, c.hidden), pixels(c.hidden, c.hidden);
  randomize(model);
  nn::testing::randomize(std::vector<nn::Weight*>{&text.weight, &text.bias, &pixels.weight, &pixels.bias}, 5);
  Recorder r;
  Space tokens = r.space("tokens"), image = r.space("image");
  ImageRange range{r.index("from", tokens), r.index("to", tokens), r.index("sees", tokens)};
  Tensor x = r.input(tokens, c.hidden, "x"), seen = r.input(image, c.hidden, "image");
  r.output(r.layer([&] {
    nn::Memory memory = mllama_memory(r, model, r.linear(seen, pixels), 0);
    return mllama_cross_layer(r, model, c, r.linear(x, text), memory, range);
  }));
  Batch batch;
  auto values = [&](int rows) {
    std::vector<float> out(rows * c.hidden);
    for (size_t i = 0; i < out.size(); i++) out[i] = std::sin(static_cast<float>(i));
    return out;
  };
  batch.set_rows(tokens, Ints{6, 4});
  batch.set_rows(image, Ints{9, 5});
  batch.set_index(range.from, Ints{0, 0, 0, 0, 3, 3, 0, 0, 1, 1});
  batch.set_index(range.to, Ints{0, 0, 3, 3, 9, 9, 0, 5, 4, 4});
  batch.set_index(range.sees, Ints{0, 0, 1, 1, 1, 1, 0, 1, 1, 1});
  batch.set_input(x, values(10));
  batch.set_input(seen, values(14));
  nn::testing::PlanCheck(r.finish(), batch).run();
}

}  // namespace
}  // namespace textmill::models
