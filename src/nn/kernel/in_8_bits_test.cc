#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "nn/kernel/pool.h"
#include "nn/kernel/testing.h"
#include "nn/quantized.h"

namespace textmill::nn::kernel {
namespace {

class In8BitsTest : public PathTest {};
INSTANTIATE_TEST_SUITE_P(Paths, In8BitsTest, testing::ValuesIn(supported_paths()), path_name);

/// x [rows, depth] · wᵀ, both of given bytes, without scales: the sums themselves.
struct IntegerCase {
  IntegerCase(int rows, int depth, int cols, auto&& x_at, auto&& w_at)
      : x(size_t(rows) * depth), ones(std::max(rows, cols), 1.0F), w{cols, depth, {}, {}, {}} {
    for (auto& value : x) value = static_cast<uint8_t>(x_at());
    w.values.resize(size_t(cols) * depth);
    for (auto& value : w.values) value = static_cast<int8_t>(w_at());
    for (int i = 0; i < cols; i++) {
      int sum = 0;
      for (int k = 0; k < depth; k++) sum += w.values[size_t(i) * depth + k];
      w.starts.push_back(-128 * sum);
    }
    product = {.out_type = Type::f32, .rows = rows, .cols = cols, .term_count = 1};
  }

  std::vector<int32_t> naive() const {
    std::vector<int32_t> sums(size_t(product.rows) * product.cols);
    naive_integer_product(x.data(), product.rows, w, sums.data());
    return sums;
  }
  std::vector<float> run(Pool& pool, const Kernels& kernels) {
    Aligned<std::byte> packed(packed_bytes_in_8_bits(kernels, w.cols, w.rows));
    pack_in_8_bits(pool, kernels, w.values.data(), w.rows, w.cols, packed.data());
    std::vector<float> out(size_t(product.rows) * product.cols);
    product.terms[0] = {x.data(), packed.data(), w.cols};
    product.in_8_bits = {ones.data(), ones.data(), w.starts.data()};
    product.out = out.data();
    multiply(pool, kernels, {&product, 1});
    return out;
  }

  std::vector<uint8_t> x;
  std::vector<float> ones;
  QuantizedWeight w;
  Product product;
};

TEST_P(In8BitsTest, SumsAreTheNaiveIntegers) {
  Pool pool(2);
  Random random(3);
  auto any = [&] { return random.below(255) - 127; };
  // Sums of up to 1,040 products of 127 · 127, and of many more random ones, are exact in f32: the floats show the integers.
  for (auto [rows, depth, cols] : {std::array{0, 8, 5},
                                   {1, 1, 1},
                                   {1, 4, 48},
                                   {3, 7, 49},
                                   {8, 64, 96},
                                   {17, 101, 100},
                                   {9, 510, 3},
                                   {70, 33, 130},
                                   {5, 3075, 98},
                                   {2, 8191, 50},
                                   {11, 8192, 17},
                                   {40, 384, 64}}) {
    IntegerCase c(
        rows, depth, cols, [&] { return any() + 128; }, any);
    std::vector<int32_t> sums = c.naive();
    EXPECT_EQ(c.run(pool, kernels()), std::vector<float>(sums.begin(), sums.end()))
        << rows << "x" << depth << "x" << cols;
  }
}

TEST_P(In8BitsTest, CornersDoNotSaturate) {
  Pool pool(1);
  for (int depth : {3, 64, 8192}) {
    for (int x : {-127, 127}) {
      for (int w : {-127, 127}) {
        IntegerCase c(
            5, depth, 50, [&] { return x + 128; }, [&] { return w; });
        std::vector<int32_t> sums = c.naive();
        ASSERT_EQ(sums[0], depth * x * w);
        EXPECT_EQ(c.run(pool, kernels()), std::vector<float>(sums.begin(), sums.end()));
      }
    }
  }
}

TEST_P(In8BitsTest, RowsAreQuantizedAsDefined) {
  Pool pool(2);
  for (Type type : {Type::f32, Type::bf16}) {
    for (int cols : {1, 5, 16, 48, 100, 384}) {
      constexpr int kRows = 37;
      Random random(cols);
      Rows x(type, kRows, cols, random);
      for (int j = 0; j < cols; j++) {
        x.set(1, j, 0);
        x.set(2, j, 1e-40F);
        x.set(3, j, static_cast<float>(j % 7) - 3.5F);  // ties, where the largest is 127 times a power of two
        x.set(4, j, x.at(4, j) * 1e30F);
      }
      x.set(3, 0, 127);
      x.set(5, cols - 1, std::numeric_limits<float>::quiet_NaN());
      x.set(6, cols / 2, -std::numeric_limits<float>::infinity());
      std::vector<uint8_t> values(size_t(kRows) * cols), naive(values.size());
      std::vector<float> scales(kRows), naive_scales(kRows);
      Rows wide = x.as(Type::f32), divisors(Type::f32, 1, cols, random);
      for (int j = 0; j < cols; j++) divisors.set(0, j, 0.5F + std::abs(divisors.at(0, j)));
      std::span<const float> none, all(divisors.f32(), cols);
      for (InputScales input : {InputScales{}, {none, 0.01F}, {all, 0}, {all, 0.01F}}) {
        const float* columns = input.columns.empty() ? nullptr : input.columns.data();
        quantize(pool, kernels(), type, kRows, cols, x.data(), {columns, input.step},
                 {values.data(), scales.data()});
        quantize_rows(wide.f32(), kRows, cols, input, naive.data(), naive_scales.data());
        EXPECT_EQ(values, naive) << cols << " columns, divided " << !input.columns.empty() << ", step "
                                 << input.step;
        for (int r = 0; r < kRows; r++)
          EXPECT_EQ(std::bit_cast<uint32_t>(scales[r]), std::bit_cast<uint32_t>(naive_scales[r]));
      }
    }
  }
}

TEST_P(In8BitsTest, ANormWritesItsRowsInBothForms) {
  Pool pool(2);
  constexpr int kRows = 19, kCols = 70;
  Random random(5);
  for (Type type : {Type::f32, Type::bf16}) {
    Rows x(type, kRows, kCols, random), scale(Type::f32, 1, kCols, random), y(type, kRows, kCols);
    std::vector<uint8_t> values(size_t(kRows) * kCols), after(values.size());
    std::vector<float> scales(kRows), scales_after(kRows);
    norm(pool, kernels(),
         {.type = type,
          .rows = kRows,
          .cols = kCols,
          .size = kCols,
          .eps = 1e-5F,
          .scale = scale.f32(),
          .x = x.data(),
          .y = y.data(),
          .quantized = {values.data(), scales.data()}});
    quantize(pool, kernels(), type, kRows, kCols, y.data(), {}, {after.data(), scales_after.data()});
    EXPECT_EQ(values, after);
    EXPECT_EQ(scales, scales_after);
  }
}

TEST_P(In8BitsTest, TablesGiveTheirValues) {
  Pool pool(2);
  Random random(6);
  constexpr int kTable = 9, kCols = 53, kRows = 21;
  Rows plain(Type::f32, kTable, kCols, random), y(Type::f32, kRows, kCols);
  Weight weight(kTable, kCols);
  weight.borrow(Dtype::f32, std::as_bytes(std::span(plain.f32(), size_t(kTable) * kCols)));
  QuantizedWeight w = quantize_weight(weight);
  std::vector<int32_t> ids(kRows);
  for (int& id : ids) id = random.below(kTable);
  Embed e{.type = Type::f32, .rows = kRows, .cols = kCols, .count = 2, .y = y.data()};
  e.tables[0] = {.bytes = w.values.data(), .scales = w.scales.data(), .ids = ids.data()};
  e.tables[1] = {.values = plain.f32(), .ids = ids.data()};
  embed(pool, kernels(), e);
  for (int i = 0; i < kRows; i++) {
    for (int j = 0; j < kCols; j++) {
      float value = static_cast<float>(w.values[ids[i] * kCols + j]) * w.scales[ids[i]];
      EXPECT_NEAR(y.at(i, j), value + plain.at(ids[i], j), 1e-6);
    }
  }
}

}  // namespace
}  // namespace textmill::nn::kernel
