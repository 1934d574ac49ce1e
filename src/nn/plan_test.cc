#include "nn/plan.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "nn/testing.h"

namespace textmill::nn {
namespace {

using Ints = std::vector<int32_t>;
constexpr int kHidden = 8, kHeads = 2;

/// A small encoder with a classifier on the first token.
struct Encoder {
  struct Layer {
    Linear query{kHidden, kHidden}, key{kHidden, kHidden}, value{kHidden, kHidden}, out{kHidden, kHidden},
        up{kHidden, 32}, down{32, kHidden};
    Norm norm1{NormKind::layer, kHidden, 1e-5}, norm2{NormKind::layer, kHidden, 1e-5};
  };
  explicit Encoder(int count, bool training = true) : layers(count) {
    Recorder r({.training = training});
    tokens = r.space("tokens");
    ids = r.index("ids", tokens);
    Tensor x = r.embed({{words, ids}});
    for (Layer& w : layers) x = r.layer([&] { return layer(r, w, x); });
    r.output(r.linear(r.rows(x, r.first(tokens, r.sequences(tokens))), head));
    recording = r.finish();
  }
  static Tensor layer(Recorder& r, Layer& w, Tensor x) {
    Tensor q = r.linear(x, w.query), k = r.linear(x, w.key), v = r.linear(x, w.value);
    Tensor a = r.linear(r.attend(q, {.key = k, .value = v}, {.head_dim = kHidden / kHeads}), w.out);
    Tensor h = r.norm(r.add(x, r.dropout(a, 0.1)), w.norm1);
    Tensor m = r.linear(r.activate(Activation::gelu, r.linear(h, w.up)), w.down);
    return r.norm(r.add(h, r.dropout(m, 0.1)), w.norm2);
  }
  Batch batch(const Ints& lengths, const Recording& of) const {
    Batch batch;
    batch.set_rows(tokens, lengths);
    batch.derive_rows(of);
    return batch;
  }

  Weight words{20, kHidden};
  std::vector<Layer> layers;
  Linear head{kHidden, 3};
  Space tokens;
  Index ids;
  Recording recording;
};

size_t arena_bytes(const Plan& plan, const Batch& batch) {
  Layout layout;
  plan.assign(batch, layout);
  return layout.bytes;
}

TEST(Plan, CountsFlops) {
  Encoder model(2, false);
  constexpr int64_t kProducts = 2 * (4 * kHidden * kHidden + 2 * 32 * kHidden), kPair = 4 * kHidden;
  Plan whole = make_plan(model.recording, {.narrow = false}), narrowed = make_plan(model.recording, {});
  Batch batch = model.batch({5, 3}, whole.recording);
  int64_t head = 2 * 2 * 3 * kHidden, pairs = 5 * 5 + 3 * 3;
  EXPECT_EQ(whole.flops(batch), 2 * (8 * kProducts + pairs * kPair) + head);
  // The last layer: keys and values of all rows, everything else of one row a sequence.
  int64_t last = 2 * kProducts + (8 - 2) * 2 * 2 * kHidden * kHidden + (5 + 3) * kPair;
  EXPECT_EQ(narrowed.flops(model.batch({5, 3}, narrowed.recording)),
            8 * kProducts + pairs * kPair + last + head);
}

TEST(Plan, CountsTheBackwardPass) {
  Encoder model(1);
  model.words.trainable = false;
  Plan plan = make_plan(model.recording, {.backward = Backward::outputs, .narrow = false});
  Plan forward = make_plan(model.recording, {.narrow = false});
  Batch batch = model.batch({4}, plan.recording);
  int64_t attention = 4 * 4 * 4 * kHidden, qkv = 3 * 2 * 4 * kHidden * kHidden;
  int64_t products = forward.flops(batch) - attention;
  // Twice the products, but no input gradient below the first layer's queries, keys and values; 2.5 times the
  // attention.
  EXPECT_EQ(plan.flops(batch), 3 * products - qkv + attention + attention * 5 / 2);
}

TEST(Plan, MemoryShrinksPassByPass) {
  Encoder model(4);
  auto bytes = [&](Backward backward, PlanOptions options) {
    options.backward = backward;
    Plan plan = make_plan(model.recording, options);
    return arena_bytes(plan, model.batch(Ints(8, 16), plan.recording));
  };
  using enum Backward;
  EXPECT_LT(bytes(none, {.narrow = false}), bytes(none, {.narrow = false, .alias = false}));
  EXPECT_LT(bytes(none, {.alias = false, .patterns = testing::sample_patterns()}),
            bytes(none, {.alias = false}));
  EXPECT_LT(bytes(outputs, {}), bytes(outputs, {.narrow = false}));
  EXPECT_LT(bytes(outputs, {.format = Format::bf16}), 6 * bytes(outputs, {}) / 10);
  EXPECT_LT(bytes(outputs, {.recompute_all = true}), bytes(outputs, {}) / 2);
}

TEST(Plan, LayoutKeepsLivingTensorsApart) {
  Encoder model(2);
  Plan plan =
      make_plan(model.recording, {.backward = Backward::outputs, .patterns = testing::sample_patterns()});
  Batch batch = model.batch({3, 9, 1}, plan.recording);
  Layout layout;
  plan.assign(batch, layout);
  int placed = 0;
  for (size_t a = 0; a < plan.buffer.size(); a++) {
    if (plan.first_use[a] < 0) continue;
    placed++;
    EXPECT_EQ(layout.offset[a] % 64, 0u);
    EXPECT_LE(layout.offset[a] + layout.size[a], layout.bytes);
    for (size_t b = 0; b < a; b++) {
      bool together = plan.first_use[b] >= 0 && plan.first_use[a] <= plan.last_use[b] &&
                      plan.first_use[b] <= plan.last_use[a];
      bool apart = layout.offset[a] + layout.size[a] <= layout.offset[b] ||
                   layout.offset[b] + layout.size[b] <= layout.offset[a];
      EXPECT_TRUE(!together || apart)
          << plan.recording.tensors[a].name << ", " << plan.recording.tensors[b].name;
    }
  }
  EXPECT_GT(placed, 20);
}

TEST(Plan, AssignsAgainWithoutAllocating) {
  Encoder model(2);
  Plan plan = make_plan(model.recording, {.backward = Backward::outputs});
  Batch large = model.batch({30, 20}, plan.recording), small = model.batch({2}, plan.recording);
  Layout layout;
  plan.assign(large, layout);
  const void* before[] = {layout.offset.data(), layout.size.data(), layout.order.data(),
                          layout.placed.data()};
  plan.assign(small, layout);
  plan.assign(large, layout);
  const void* after[] = {layout.offset.data(), layout.size.data(), layout.order.data(), layout.placed.data()};
  EXPECT_TRUE(std::equal(std::begin(before), std::end(before), after));
}

TEST(Plan, GradientsAreReadyAfterTheirLastUse) {
  Encoder model(2);
  Plan plan = make_plan(model.recording, {.backward = Backward::outputs});
  std::vector<int> ready_at(plan.recording.weights.size(), -1);
  for (size_t step = 0; step < plan.ready.size(); step++) {
    for (int weight : plan.ready[step]) {
      EXPECT_EQ(ready_at[weight], -1);
      ready_at[weight] = static_cast<int>(step);
    }
  }
  for (size_t i = 0; i < plan.steps.size(); i++) {
    const Step& step = plan.steps[i];
    for (size_t k = 0; k < step.op.weights.size(); k++) {
      EXPECT_TRUE(!step.trains(k) || static_cast<int>(i) <= ready_at[step.op.weights[k]]);
    }
  }
  EXPECT_EQ(std::count(ready_at.begin(), ready_at.end(), -1), 0);
}

TEST(Plan, SaysHowWeightsAreUsed) {
  Encoder model(1);
  Plan plan = make_plan(model.recording, {.backward = Backward::outputs});
  auto use = [&](const Weight& weight) {
    auto found = std::find(plan.recording.weights.begin(), plan.recording.weights.end(), &weight);
    return plan.uses[found - plan.recording.weights.begin()];
  };
  EXPECT_TRUE(use(model.words).gathered && use(model.words).trained && !use(model.words).product);
  EXPECT_EQ(use(model.words).gathered_by, std::vector<int>{model.ids.id});
  EXPECT_TRUE(use(model.head.weight).product && use(model.head.weight).transposed &&
              !use(model.head.weight).vector);
  EXPECT_TRUE(use(model.head.bias).vector && !use(model.head.bias).product);
  Plan forward = make_plan(model.recording, {});
  EXPECT_FALSE(forward.uses[0].transposed || forward.uses[0].trained);
}

/// Names of the patterns of all groups, in order.
std::vector<std::string> pattern_names(const Plan& plan) {
  std::vector<std::string> names;
  for (const Group& group : plan.groups) {
    if (group.pattern >= 0) names.push_back(testing::sample_patterns()[group.pattern].name);
  }
  return names;
}

TEST(Plan, GroupsAnEncoderLayer) {
  Encoder model(1, false);
  Plan plan = make_plan(model.recording, {.narrow = false, .patterns = testing::sample_patterns()});
  EXPECT_EQ(pattern_names(plan),
            (std::vector<std::string>{"products", "sum, norm", "product, activation", "sum, norm"}));
  int steps = 0;
  for (const Group& group : plan.groups) {
    EXPECT_EQ(group.first, steps);
    steps += group.count;
  }
  EXPECT_EQ(steps, static_cast<int>(plan.steps.size()));
  // What only its own phase reads has no memory: x + a, up before the activation.
  Layout layout;
  plan.assign(model.batch({4}, plan.recording), layout);
  for (const Step& step : plan.steps) {
    bool inner = step.op.kind == Kind::add ||
                 (step.op.kind == Kind::linear && plan.recording.tensors[step.op.outputs[0]].cols == 32);
    EXPECT_EQ(layout.offset[step.op.outputs[0]] == Layout::kNowhere, inner) << name(step.op.kind);
  }
}

TEST(Plan, GroupsTheBackwardPass) {
  Encoder model(1);
  Plan plan = make_plan(model.recording, {.backward = Backward::outputs,
                                          .narrow = false,
                                          .save_slope = true,
                                          .patterns = testing::sample_patterns()});
  EXPECT_EQ(
      pattern_names(plan),
      (std::vector<std::string>{"products", "dropout, sum, norm", "product, activation", "dropout, sum, norm",
                                "back: norm, sum, dropout", "back: product, activation",
                                "back: norm, sum, dropout", "back: products"}));
}

TEST(Plan, KeepsLeavingTensorsInFull) {
  Encoder model(1);
  Plan plan =
      make_plan(model.recording, {.backward = Backward::outputs, .save_slope = true, .format = Format::bf16});
  auto format = [&](int tensor) { return plan.recording.tensors[tensor].format; };
  for (const Step& step : plan.steps) {
    if (step.phase == Phase::loss) {
      EXPECT_EQ(format(step.d_inputs[0]), Format::f32);
    } else if (step.phase == Phase::forward) {
      bool output = step.op.outputs[0] == plan.recording.outputs[0], slope = step.op.kind == Kind::activate;
      EXPECT_EQ(format(step.op.outputs[0]), output ? Format::f32 : Format::bf16) << name(step.op.kind);
      for (size_t k = 1; k < step.op.outputs.size(); k++) {
        EXPECT_EQ(format(step.op.outputs[k]), slope ? Format::bf16 : Format::f32) << name(step.op.kind);
      }
    }
  }
}

TEST(Plan, RefusesWhatARecordingCannotGive) {
  Weight table(4, 4);
  auto record = [&](RecorderOptions options, bool twice) {
    Recorder r(options);
    Space tokens = r.space("tokens");
    Tensor x = r.embed({{table, r.index("ids", tokens)}});
    Tensor y = r.attend(x, r.remember(x, x, 0), {.head_dim = 2});
    r.output(y);
    if (twice) r.output(y);
    return r.finish();
  };
  EXPECT_THROW(make_plan(record({}, false), {.backward = Backward::losses}), base::Error);
  EXPECT_THROW(make_plan(record({.cached = true}, false), {.backward = Backward::outputs}), base::Error);
  EXPECT_THROW(make_plan(record({}, true), {.backward = Backward::outputs}), base::Error);
  EXPECT_NO_THROW(make_plan(record({}, false), {.backward = Backward::outputs}));
}

}  // namespace
}  // namespace textmill::nn
