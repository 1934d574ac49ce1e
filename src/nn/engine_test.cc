// Every operation: gradients against finite differences in double, and every plan against the plain one.

#include <gtest/gtest.h>

#include "base/error.h"
#include "nn/testing.h"

namespace textmill::nn {
namespace {

constexpr int kVocab = 11, kWidth = 12, kLabels = 4;

/// Three sequences of tokens, a table of word vectors, and whatever a test records on top.
class EngineTest : public ::testing::Test {
 protected:
  EngineTest() { start({.training = true}); }

  void start(RecorderOptions options) {
    r = Recorder(options);
    tokens = r.space("tokens");
    ids = r.index("ids", tokens);
    batch = {};
    batch.seed = 5;
    batch.set_rows(tokens, kLengths);
    batch.set_index(ids, kIds);
  }

  Tensor words() { return r.embed({{table, ids}}); }
  Tensor queries(Tensor x) { return r.linear(x, query); }

  /// The mean of `x`'s rows of each sequence through cross-entropy.
  void finish_with_loss(Tensor x) {
    Space sequences = r.sequences(tokens);
    Tensor logits = r.linear(r.mean(x, sequences), head), row_weight = r.input(sequences, 1, "weight");
    Index labels = r.index("labels", sequences);
    r.cross_entropy(logits, labels, row_weight);
    batch.set_index(labels, std::vector<int32_t>{2, 0, 3});
    batch.set_input(row_weight, std::vector<float>{0.5f, 0.25f, 0.25f});
  }

  void check() {
    Recording recording = r.finish();
    testing::randomize(recording.weights, 7);
    testing::PlanCheck(recording, batch).run();
  }

  const std::vector<int32_t> kLengths{5, 3, 4}, kIds{1, 4, 2, 9, 4, 0, 10, 3, 7, 7, 5, 6};
  Recorder r;
  Space tokens;
  Index ids;
  Batch batch;
  Weight table{kVocab, kWidth};
  Linear query{kWidth, kWidth}, key{kWidth, 6}, value{kWidth, 6}, head{kWidth, kLabels};
};

TEST_F(EngineTest, Embed) {
  Weight places(9, kWidth), kinds(2, kWidth);
  Index kind = r.index("kind", tokens);
  batch.set_index(kind, std::vector<int32_t>{0, 0, 1, 1, 1, 0, 1, 1, 0, 0, 0, 1});
  r.output(r.embed({{table, ids}, {places, r.positions(tokens, 2)}, {kinds, kind}}));
  check();
}

TEST_F(EngineTest, Linear) {
  Linear bare(kWidth, 5, false);
  r.output(r.linear(r.linear(words(), query), bare));
  check();
}

TEST_F(EngineTest, TiedLinear) {
  r.output(r.linear(r.activate(Activation::tanh, r.linear(words(), query)), table));
  check();
}

TEST_F(EngineTest, Adapter) {
  Linear top(kWidth, kWidth);
  for (Linear* linear : {&query, &top}) linear->adapter = std::make_unique<Adapter>(kWidth, kWidth, 2, 1.5);
  for (Weight* frozen : {&table, &query.weight, &query.bias, &top.weight, &top.bias})
    frozen->trainable = false;
  r.output(r.linear(r.activate(Activation::gelu, r.linear(words(), query)), top));
  check();
}

TEST_F(EngineTest, Norms) {
  Norm layer(NormKind::layer, kWidth, 1e-5), rms(NormKind::rms, kWidth, 1e-6), heads(NormKind::rms, 4, 1e-6),
      layer_heads(NormKind::layer, 3, 1e-5);
  Tensor x = r.norm(r.linear(r.norm(words(), layer), query), rms);
  r.output(r.normalize(r.norm(r.norm(x, heads), layer_heads)));
  check();
}

TEST_F(EngineTest, Activations) {
  using enum Activation;
  Tensor x = words();
  for (Activation activation : {gelu, gelu_tanh, relu, silu, tanh}) {
    x = r.linear(r.activate(activation, r.scale(x, 3)), query);
    x = r.linear(r.activate(activation, x, r.scale(x, 0.5)), query);
  }
  r.output(x);
  check();
}

TEST_F(EngineTest, RotaryOfAPartOfEachHead) {
  Tensor x = r.rotary(queries(words()), {6, rotary_frequencies(4, 100)});
  r.output(r.activate(Activation::tanh, x));
  check();
}

TEST_F(EngineTest, OneTensorReadTwice) {
  Tensor x = queries(words()), z = r.activate(Activation::tanh, r.linear(words(), query));
  Tensor doubled = r.add(x, x);
  Tensor gated = r.activate(Activation::silu, doubled, doubled);
  r.output(r.add(r.add(gated, gated), z));
  r.output(r.attend(x, {.key = x, .value = x}, {.head_dim = 4}));
  check();
}

TEST_F(EngineTest, DropoutAndResiduals) {
  Norm norm(NormKind::layer, kWidth, 1e-5), norm2(NormKind::layer, kWidth, 1e-5);
  Tensor x = words();
  x = r.layer([&] { return r.norm(r.add(x, r.dropout(r.linear(x, query), 0.3)), norm); });
  x = r.layer([&] {
    return r.norm(r.add(x, r.dropout(r.activate(Activation::gelu, r.linear(x, query)), 0.5)), norm2);
  });
  r.output(x);
  check();
}

TEST_F(EngineTest, Attend) {
  Tensor x = words(), k = r.linear(x, key), v = r.linear(x, value);
  Tensor a = r.attend(queries(x), {.key = k, .value = v}, {.head_dim = 3, .causal = true, .dropout = 0.3});
  Tensor b = r.attend(a, {.key = k, .value = v}, {.head_dim = 6, .scale = 1, .causal = true, .window = 2});
  r.output(b);
  check();
}

TEST_F(EngineTest, RelativePositions) {
  Weight bias(8, 4), causal_bias(6, 2);
  Tensor x = words(), k = r.linear(x, key), v = r.linear(x, value);
  Tensor a = r.attend(queries(x), {.key = k, .value = v}, {.head_dim = 3, .bias = &bias, .max_distance = 4});
  r.output(r.attend(
      a, {.key = k, .value = v},
      {.head_dim = 6, .causal = true, .bias = &causal_bias, .max_distance = 5, .bidirectional = false}));
  check();
}

TEST_F(EngineTest, CrossAttentionOverRanges) {
  Space image = r.space("image");
  Index from = r.index("from", tokens), to = r.index("to", tokens), sees = r.index("sees", tokens);
  Tensor pixels = r.input(image, kWidth, "pixels");
  Weight gate = Weight::vector(1), gate2 = Weight::vector(1);
  batch.set_rows(image, std::vector<int32_t>{4, 2, 3});
  batch.set_index(from, std::vector<int32_t>{0, 0, 1, 1, 2, 0, 0, 1, 0, 0, 3, 2});
  batch.set_index(to, std::vector<int32_t>{0, 2, 3, 4, 4, 2, 0, 2, 3, 1, 3, 3});
  batch.set_index(sees, std::vector<int32_t>{0, 1, 1, 1, 1, 1, 0, 1, 1, 1, 0, 1});
  std::vector<float> values(9 * kWidth);
  for (size_t i = 0; i < values.size(); i++) values[i] = static_cast<float>(std::sin(static_cast<double>(i)));
  batch.set_input(pixels, values);
  Tensor x = words();
  Memory memory = r.remember(r.linear(pixels, key), r.linear(pixels, value), 0);
  Tensor all = r.attend(queries(x), memory, {.head_dim = 3, .from = from, .to = to, .blind_sees_all = true});
  Tensor none = r.attend(queries(x), memory, {.head_dim = 3, .from = from, .to = to});
  x = r.add(x, all, gate);
  r.output(r.add(x, none, gate2, sees));
  check();
}

TEST_F(EngineTest, RowsMeanAndHead) {
  Norm norm(NormKind::layer, kWidth, 1e-5);
  Tensor x = r.layer([&] { return r.norm(r.linear(words(), query), norm); });
  finish_with_loss(x);
  check();
}

TEST_F(EngineTest, NarrowedToOneRowOfEachSequence) {
  Tensor x = r.dropout(words(), 0.1);
  for (int i = 0; i < 2; i++) {
    x = r.layer([&] {
      Tensor k = r.linear(x, key), v = r.linear(x, value);
      return r.add(
          x, r.dropout(r.attend(r.linear(x, query), {.key = k, .value = v}, {.head_dim = 3, .dropout = 0.2}),
                       0.2));
    });
  }
  r.output(r.linear(r.rows(x, r.last(tokens, r.sequences(tokens))), head));
  check();
}

TEST_F(EngineTest, TwoPicksOfOneTensor) {
  Norm norm(NormKind::layer, kWidth, 1e-5);
  Linear up(kWidth, 20), down(20, kWidth);
  Tensor x = words();
  for (int i = 0; i < 2; i++) {
    x = r.layer([&] {
      Tensor k = r.linear(x, key), v = r.linear(x, value);
      Tensor a = r.attend(r.linear(x, query), {.key = k, .value = v}, {.head_dim = 3, .dropout = 0.2});
      Tensor h = r.norm(r.add(x, r.dropout(a, 0.2)), norm);
      return r.add(h, r.linear(r.activate(Activation::gelu, r.linear(h, up)), down));
    });
  }
  Space sequences = r.sequences(tokens);
  r.output(r.linear(r.rows(x, r.first(tokens, sequences)), head));
  r.output(r.linear(r.rows(x, r.last(tokens, sequences)), head));
  check();
}

TEST_F(EngineTest, SelectedRowsWithIgnoredLabels) {
  Index chosen = r.selection("labelled", tokens), labels = r.index("labels", chosen.of);
  Tensor row_weight = r.input(chosen.of, 1, "weight");
  Tensor x = r.layer([&] { return r.activate(Activation::gelu, r.linear(words(), query)); });
  r.cross_entropy(r.linear(r.rows(x, chosen), head), labels, row_weight);
  batch.set_index(chosen, std::vector<int32_t>{0, 3, 3, 6, 11});
  batch.set_index(labels, std::vector<int32_t>{1, 0, -100, 3, 2});
  batch.set_input(row_weight, std::vector<float>(5, 0.25f));
  check();
}

TEST_F(EngineTest, TwoHeadsOnOneTensor) {
  Linear other(kWidth, 3);
  Tensor x = r.activate(Activation::gelu, r.linear(words(), query)),
         row_weight = r.input(tokens, 1, "weight");
  Index labels = r.index("labels", tokens), other_labels = r.index("other labels", tokens);
  r.cross_entropy(r.linear(x, head), labels, row_weight);
  r.cross_entropy(r.linear(x, other), other_labels, row_weight);
  batch.set_index(labels, std::vector<int32_t>{1, 0, 2, 3, 2, 1, 1, 0, 3, 2, -1, 0});
  batch.set_index(other_labels, std::vector<int32_t>{1, 0, 2, 0, 2, 1, 1, 0, -1, 2, 1, 0});
  batch.set_input(row_weight, std::vector<float>(12, 0.125f));
  check();
}

TEST_F(EngineTest, Contrastive) {
  Space documents = r.space("documents");
  Index document_ids = r.index("document ids", documents);
  auto embed = [&](Space space, Index index) {
    Tensor x = r.layer([&] { return r.dropout(r.linear(r.embed({{table, index}}), query), 0.2); });
    return r.normalize(r.mean(x, r.sequences(space)));
  };
  Tensor q = embed(tokens, ids), d = embed(documents, document_ids);
  Index positive = r.index("positive", r.space_of(q), r.space_of(d));
  Tensor row_weight = r.input(r.space_of(q), 1, "weight");
  r.contrastive(q, d, positive, row_weight, 20);
  batch.set_rows(documents, std::vector<int32_t>{2, 3, 1, 2});
  batch.set_index(document_ids, std::vector<int32_t>{8, 1, 3, 5, 2, 9, 10, 0});
  batch.set_index(positive, std::vector<int32_t>{2, 0, 3});
  batch.set_input(row_weight, std::vector<float>(3, 1.0f / 3));
  check();
}

// The model that alone catches unsafe sharing of an addition's gradients.
TEST_F(EngineTest, ParallelResidual) {
  Norm norm1(NormKind::layer, kWidth, 1e-5), norm2(NormKind::layer, kWidth, 1e-5);
  Linear up(kWidth, 20), down(20, kWidth);
  Tensor x = r.linear(words(), query);
  for (int i = 0; i < 2; i++) {
    x = r.layer([&] {
      Tensor n = r.norm(x, norm1), k = r.linear(n, key), v = r.linear(n, value);
      Tensor a = r.attend(r.linear(n, query), {.key = k, .value = v}, {.head_dim = 3, .causal = true});
      Tensor m = r.linear(r.activate(Activation::gelu, r.linear(r.norm(x, norm2), up)), down);
      return r.add(r.add(x, a), m);
    });
  }
  finish_with_loss(x);
  check();
}

TEST_F(EngineTest, FrozenBelow) {
  table.trainable = query.weight.trainable = query.bias.trainable = false;
  finish_with_loss(queries(words()));
  check();
}

}  // namespace
}  // namespace textmill::nn
