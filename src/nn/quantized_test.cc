#include "nn/quantized.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "base/error.h"
#include "nn/naive.h"
#include "nn/plan.h"
#include "nn/record.h"
#include "nn/testing.h"

namespace textmill::nn {

using base::Error;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> random_floats(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> x(count);
  for (float& v : x) v = uniform(random);
  return x;
}

Weight weight_of(int rows, int cols, const std::vector<float>& values) {
  Weight weight(rows, cols);
  weight.name = "encoder.w";
  std::copy(values.begin(), values.end(), weight.own().begin());
  return weight;
}

// Bytes as they come, and all at one corner, where sums are largest.
void expect_exact(int rows, int out, int in, int x_corner, int w_corner) {
  std::mt19937 random(rows * 31 + out * 7 + in);
  std::uniform_int_distribution<int> any(-127, 127);
  std::vector<uint8_t> x(size_t(rows) * in);
  for (uint8_t& v : x) v = static_cast<uint8_t>((x_corner ? x_corner : any(random)) + 128);
  QuantizedWeight w{out, in, std::vector<int8_t>(size_t(out) * in), std::vector<float>(out, 1),
                    std::vector<int32_t>(out)};
  for (size_t i = 0; i < w.values.size(); i++) {
    w.values[i] = static_cast<int8_t>(w_corner ? w_corner : any(random));
    w.starts[i / in] -= 128 * w.values[i];
  }
  std::vector<int32_t> sums(size_t(rows) * out);
  naive_integer_product(x.data(), rows, w, sums.data());
  for (int i = 0; i < rows; i++) {
    for (int n = 0; n < out; n++) {
      int64_t exact = 0;
      for (int k = 0; k < in; k++) {
        exact += (int64_t{x[size_t(i) * in + k]} - 128) * w.values[size_t(n) * in + k];
      }
      ASSERT_EQ(sums[size_t(i) * out + n], exact) << rows << "x" << out << "x" << in;
    }
  }
}

TEST(Quantized, SumsAreExact) {
  for (int in : {1, 3, 4, 5, 63, 64, 65, 384, 8192}) {
    for (int rows : {0, 1, 7, 9}) expect_exact(rows, 5, in, 0, 0);
  }
  for (int in : {1, 8192, kMaxQuantizedColumns}) {
    for (int x : {-127, 127}) {
      for (int w : {-127, 127}) expect_exact(1, 2, in, x, w);
    }
  }
}

TEST(Quantized, StartsTakeTheOffsetBack) {
  std::vector<float> values = random_floats(3 * 130, 1);
  QuantizedWeight w = quantize_weight(weight_of(3, 130, values));
  std::vector<uint8_t> zeros(130, 128);
  std::vector<int32_t> sums(3, 1);
  naive_integer_product(zeros.data(), 1, w, sums.data());
  EXPECT_EQ(sums, std::vector<int32_t>(3, 0));
}

// Each factor is off by at most half a step.
TEST(Quantized, LinearIsWithinTheStepsOfF32) {
  constexpr int kRows = 6, kOut = 11, kIn = 130;
  std::vector<float> x = random_floats(kRows * kIn, 2), values = random_floats(kOut * kIn, 3),
                     bias = random_floats(kOut, 4), y(kRows * kOut);
  QuantizedWeight w = quantize_weight(weight_of(kOut, kIn, values));
  naive_quantized_linear(x.data(), kRows, w, bias.data(), y.data());
  for (int i = 0; i < kRows; i++) {
    for (int n = 0; n < kOut; n++) {
      double exact = bias[n], bound = 1e-4;
      for (int k = 0; k < kIn; k++) {
        double a = x[i * kIn + k], b = values[n * kIn + k], half = 0.5 / 127 * 1.0001;
        exact += a * b;
        bound += half * (std::abs(a) + std::abs(b)) + half * half;
      }
      EXPECT_NEAR(y[i * kOut + n], exact, bound);
    }
  }
}

TEST(Quantized, RowsKeepTheirLargestAndRoundToEven) {
  std::vector<float> x = {127, -127, 0.5, 1.5, -2.5, 0, /**/ 0, 0, 0, 0, 0, 0, /**/ 1e-40, 0, 0, 0, 0, 0};
  std::vector<uint8_t> values(x.size());
  std::vector<float> scales(3);
  quantize_rows(x.data(), 3, 6, values.data(), scales.data());
  EXPECT_EQ(std::vector<uint8_t>(values.begin(), values.begin() + 6),
            (std::vector<uint8_t>{255, 1, 128, 130, 126, 128}));
  EXPECT_EQ(scales, (std::vector<float>{1, 0, 0}));
  EXPECT_EQ(std::vector<uint8_t>(values.begin() + 6, values.end()), std::vector<uint8_t>(12, 128));
}

TEST(Quantized, WhatIsNotFiniteStaysInItsRow) {
  std::vector<float> values = {1, 2, 3, -1}, y(6);
  QuantizedWeight w = quantize_weight(weight_of(2, 2, values));
  for (float bad : {kNan, kInfinity, -kInfinity}) {
    std::vector<float> x = {1, 1, bad, 1, 1, 1};
    naive_quantized_linear(x.data(), 3, w, nullptr, y.data());
    EXPECT_TRUE(std::isnan(y[2]) && std::isnan(y[3]));
    EXPECT_NEAR(y[0], 3, 0.05);
    EXPECT_EQ(y[0], y[4]);
    EXPECT_EQ(y[1], y[5]);
  }
}

TEST(Quantized, WeightsThatCannotBeAreRefused) {
  std::vector<float> values = {1, 2, 3, kNan};
  try {
    quantize_weight(weight_of(2, 2, values));
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "weight encoder.w: row 1 has a number that is not finite");
  }
  EXPECT_THROW(
      quantize_weight(weight_of(1, kMaxQuantizedColumns + 1, std::vector<float>(kMaxQuantizedColumns + 1))),
      Error);
}

/// Word vectors through two linear layers, both in 8 bits, on sequences of these lengths.
std::vector<float> run_in_8_bits(const std::vector<int32_t>& lengths, const std::vector<int32_t>& ids,
                                 bool quantize) {
  Weight table(11, 12);
  Linear up(12, 30), down(30, 5);
  Recorder r;
  Space tokens = r.space("tokens");
  Index words = r.index("ids", tokens);
  r.output(r.linear(r.activate(Activation::gelu, r.linear(r.embed({{table, words}}), up)), down));
  Recording recording = r.finish();
  testing::randomize(recording.weights, 7);
  QuantizedWeight in_8_bits[] = {quantize_weight(up.weight), quantize_weight(down.weight)};
  if (quantize) {
    up.weight.borrow(in_8_bits[0].values, in_8_bits[0].scales);
    down.weight.borrow(in_8_bits[1].values, in_8_bits[1].scales);
  }
  Plan plan = make_plan(recording, {});
  Naive<float> naive(plan);
  Batch batch;
  batch.set_rows(tokens, lengths);
  batch.set_index(words, ids);
  batch.derive(plan.recording);
  naive.run(batch);
  return {naive.output(0).begin(), naive.output(0).end()};
}

TEST(Quantized, TheNaiveExecutorRunsIt) {
  std::vector<int32_t> ids{1, 4, 2, 9, 4, 0, 10, 3, 7};
  std::vector<float> exact = run_in_8_bits({5, 4}, ids, false), y = run_in_8_bits({5, 4}, ids, true);
  EXPECT_NE(y, exact);
  double both = 0, left = 0, right = 0;
  for (size_t i = 0; i < y.size(); i++) {
    both += double{y[i]} * exact[i], left += double{y[i]} * y[i], right += double{exact[i]} * exact[i];
  }
  EXPECT_GT(both / std::sqrt(left * right), 0.999);
}

TEST(Quantized, CompanyDoesNotMatter) {
  std::vector<float> y = run_in_8_bits({5, 4}, {1, 4, 2, 9, 4, 0, 10, 3, 7}, true),
                     alone = run_in_8_bits({4}, {0, 10, 3, 7}, true);
  EXPECT_EQ(alone, std::vector<float>(y.end() - 20, y.end()));
}

}  // namespace
}  // namespace textmill::nn
