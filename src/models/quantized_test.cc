// Encoders in 8 bits: the CPU engine against its naive twin, on each path of this machine.

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/error.h"
#include "models/bert.h"
#include "nn/cpu.h"
#include "nn/naive.h"
#include "nn/quantized.h"

namespace textmill::models {
namespace {

using nn::Plan;

/// A small classifier whose matrices (but the head's) are held in 8 bits.
struct Quantized {
  enum Inputs { plain, steps, columns };
  explicit Quantized(bool in_8_bits = true, Inputs inputs = plain) : model(config()) {
    std::mt19937 random(3);
    std::uniform_real_distribution<float> uniform(-0.3F, 0.3F);
    for (nn::Weight* weight : nn::fields(model)) {
      for (float& value : weight->own())
        value = uniform(random) + (weight->name.ends_with("orm.weight") ? 1.0F : 0.0F);
    }
    held.reserve(100);
    for (nn::Weight* weight : nn::fields(model.body)) {
      if (weight->is_vector || !in_8_bits) continue;
      bool table = weight->name.starts_with("embeddings");
      std::vector<float> divisors(inputs == columns && !table ? weight->cols : 0);
      for (float& x : divisors) x = uniform(random) + 1.0F;
      held.push_back(nn::quantize_weight(*weight, divisors));
      if (inputs == steps && held.size() % 3) held.back().input_step = 0.02F + 0.01F * uniform(random);
      weight->borrow(held.back().values, held.back().scales, held.back().input());
    }
  }
  static BertConfig config() {
    BertConfig c;
    c.vocab = 50, c.hidden = 48, c.heads = 3, c.mlp = 77, c.layers = 2, c.positions = 40, c.types = 2,
    c.labels = 3;
    return c;
  }

  TextClassifier model;
  std::vector<nn::QuantizedWeight> held;
};

nn::Batch batch_of(const EncoderInputs& in, const std::vector<int32_t>& lengths, int first = 0) {
  std::vector<int32_t> ids, types;
  for (int length : lengths) {
    for (int i = 0; i < length; i++)
      ids.push_back((first + 7 * static_cast<int>(ids.size())) % 50), types.push_back(i % 2);
  }
  nn::Batch batch;
  batch.set_rows(in.tokens, lengths);
  batch.set_index(in.ids, ids);
  batch.set_index(in.types, types);
  return batch;
}

template <class Engine>
std::vector<float> run(Engine& engine, const Plan& plan, nn::Batch batch) {
  batch.derive(plan.recording);
  engine.run(batch);
  return {engine.output(0).begin(), engine.output(0).end()};
}

class QuantizedTest : public testing::TestWithParam<nn::kernel::Path> {};
INSTANTIATE_TEST_SUITE_P(Paths, QuantizedTest, testing::ValuesIn(nn::kernel::supported_paths()),
                         [](const auto& info) {
                           std::string label = nn::kernel::name(info.param);
                           std::replace(label.begin(), label.end(), '-', '_');
                           return label;
                         });

void expect_the_naive_twin(Quantized::Inputs inputs_in_8_bits, const nn::kernel::Kernels& kernels) {
  Quantized quantized(true, inputs_in_8_bits), exact(false);
  auto [recording, inputs] = record_classifier(quantized.model, {});
  auto floats = record_classifier(exact.model, {});
  Plan plain = nn::make_plan(recording, {.narrow = false, .alias = false}),
       f32 = nn::make_plan(floats.recording, {});
  nn::Batch batch = batch_of(inputs, {5, 1, 17, 40});
  nn::Naive<float> naive(plain), naive_f32(f32);
  std::vector<float> expected = run(naive, plain, batch), unquantized = run(naive_f32, f32, batch);
  EXPECT_NE(expected, unquantized);
  for (auto [format, tolerance] : {std::pair{nn::Format::f32, 2e-2F}, {nn::Format::bf16, 6e-2F}}) {
    Plan plan = nn::make_plan(recording, {.format = format, .patterns = nn::cpu_patterns()});
    std::vector<float> found;
    for (int threads : {1, 2, 3}) {
      nn::kernel::Pool pool(threads);
      nn::Cpu engine(plan, pool, kernels);
      std::vector<float> y = run(engine, plan, batch);
      if (threads == 1) found = y;
      EXPECT_EQ(y, found) << threads << " threads";
      EXPECT_EQ(run(engine, plan, batch), found) << "the second run";
      std::vector<float> alone = run(engine, plan, batch_of(inputs, {5}));
      EXPECT_EQ(alone, std::vector<float>(found.begin(), found.begin() + 3)) << "without company";
    }
    // A rounding to another side of a tie is a step of 1/127 of a row's largest; those are few and small.
    for (size_t i = 0; i < expected.size(); i++) EXPECT_NEAR(found[i], expected[i], tolerance);
  }
}

TEST_P(QuantizedTest, EncodersGiveWhatTheNaiveTwinGives) {
  expect_the_naive_twin(Quantized::plain, nn::kernel::kernels(GetParam()));
}

// Query, key and value each with another step, or none; or other scales of the columns that they share.
TEST_P(QuantizedTest, InputsHaveStepsAndScalesOfTheirOwn) {
  expect_the_naive_twin(Quantized::steps, nn::kernel::kernels(GetParam()));
  expect_the_naive_twin(Quantized::columns, nn::kernel::kernels(GetParam()));
}

TEST(QuantizedModel, IsNotTrained) {
  Quantized quantized;
  auto recording = record_classifier(quantized.model, {.training = true}).recording;
  Plan plan = nn::make_plan(recording, {.backward = nn::Backward::outputs, .fuse_head = false});
  nn::kernel::Pool pool(1);
  try {
    nn::Cpu engine(plan, pool);
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_STREQ(error.what(),
                 "weight embeddings.word_embeddings.weight: is in 8 bits and cannot be trained");
  }
}

}  // namespace
}  // namespace textmill::models
