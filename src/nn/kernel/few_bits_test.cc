#include "nn/kernel/few_bits.h"

#include <gtest/gtest.h>

#include "nn/kernel/kernels.h"
#include "nn/kernel/pool.h"
#include "nn/kernel/product.h"
#include "nn/kernel/testing.h"

namespace textmill::nn::kernel {
namespace {

/// A weight in few bits with random numbers, its groups in any order of the columns, and what it stands for.
struct Coded {
  Coded(int rows, int cols, int bits, int groups, bool divided)
      : shape{rows, cols, bits, groups, divided},
        codes(int64_t{rows} * cols),
        scales(int64_t{groups} * rows),
        zeros(scales.size()),
        group_of(cols),
        divisors(divided ? cols : 0),
        wide(Type::f32, rows, cols) {
    Random random(rows + cols + bits);
    for (uint8_t& code : codes) code = random.below(1 << bits);
    for (float& scale : scales) scale = random() / 16;
    for (float& zero : zeros) zero = static_cast<float>(random.below(1 << bits));
    for (int32_t& group : group_of) group = random.below(groups);
    for (float& divisor : divisors) divisor = 1.5F + random();
    for (int row = 0; row < rows; row++) {
      for (int col = 0; col < cols; col++) {
        size_t at = size_t(row) * groups + group_of[col];
        float x = scales[at] * (static_cast<float>(codes[size_t(row) * cols + col]) - zeros[at]);
        wide.set(row, col, divided ? x / divisors[col] : x);
      }
    }
  }
  FewBitsWeight weight() const {
    return {shape,        codes.data(),    scales.data(),
            zeros.data(), group_of.data(), shape.divided ? divisors.data() : nullptr};
  }

  FewBitsShape shape;
  std::vector<uint8_t> codes;
  std::vector<float> scales, zeros;
  std::vector<int32_t> group_of;
  std::vector<float> divisors;
  Rows wide;
};

class FewBitsTest : public PathTest {
 protected:
  /// x · wᵀ with the weight as `term`'s b, in f32.
  Rows multiply(Pool& pool, const Rows& x, int cols, const std::byte* b, const FewBits* few_bits) {
    Rows out(Type::f32, x.rows(), cols);
    Product product{.type = type, .rows = x.rows(), .cols = cols, .term_count = 1, .out = out.data()};
    product.terms[0] = {x.data(), b, x.cols(), few_bits};
    Aligned<std::byte> scratch(multiply_bytes(pool, kernels(), {&product, 1}));
    kernel::multiply(pool, kernels(), {&product, 1}, scratch.data());
    return out;
  }
  Type type = Type::f32;
};
INSTANTIATE_TEST_SUITE_P(Paths, FewBitsTest, testing::ValuesIn(supported_paths()), path_name);

// The twin is the product of the weight that was widened before; that one is tested against the naive sum.
TEST_P(FewBitsTest, ProductsEqualThoseOfTheWidenedWeightByteForByte) {
  Pool pool(2);
  for (auto [rows, cols, depth, groups] : {std::array{1, 1, 1, 1},
                                           {1, 300, 512, 4},
                                           {7, 49, 33, 5},
                                           {70, 96, 128, 1},
                                           {2, 47, 31, 31},
                                           {300, 130, 70, 2},
                                           {3, 16, 3001, 24}}) {
    for (int bits : {4, 8}) {
      for (bool divided : {false, true}) {
        Coded coded(cols, depth, bits, groups, divided);
        Aligned<std::byte> data(few_bits_bytes(kernels(), coded.shape));
        pack_few_bits(pool, kernels(), coded.weight(), data.data());
        FewBits few_bits = few_bits_at(kernels(), coded.shape, data.data());
        for (Type each : {Type::f32, Type::bf16}) {
          type = each;
          Aligned<std::byte> packed(packed_bytes(kernels(), type, depth, cols));
          pack_transposed(pool, kernels(), type, coded.wide.f32(), cols, depth, packed.data());
          Random random(depth);
          Rows x(type, rows, depth, random);
          ASSERT_EQ(multiply(pool, x, cols, nullptr, &few_bits),
                    multiply(pool, x, cols, packed.data(), nullptr))
              << rows << " x " << depth << " x " << cols << ", " << bits << " bits"
              << (divided ? ", divided" : "");
        }
      }
    }
  }
}

TEST_P(FewBitsTest, OneProductOfAPhaseIsInFewBitsAndTheOtherNot) {
  Pool pool(2);
  Coded coded(50, 40, 4, 2, false);
  Aligned<std::byte> data(few_bits_bytes(kernels(), coded.shape)),
      packed(packed_bytes(kernels(), type, 40, 50));
  pack_few_bits(pool, kernels(), coded.weight(), data.data());
  pack_transposed(pool, kernels(), type, coded.wide.f32(), 50, 40, packed.data());
  FewBits few_bits = few_bits_at(kernels(), coded.shape, data.data());
  Random random(1);
  Rows x(type, 20, 40, random), few(type, 20, 50), wide(type, 20, 50);
  std::array<Product, 2> products;
  products.fill({.rows = 20, .cols = 50, .term_count = 1});
  products[0].terms[0] = {x.data(), nullptr, 40, &few_bits};
  products[0].out = few.data();
  products[1].terms[0] = {x.data(), packed.data(), 40};
  products[1].out = wide.data();
  Aligned<std::byte> scratch(multiply_bytes(pool, kernels(), products));
  kernel::multiply(pool, kernels(), products, scratch.data());
  EXPECT_EQ(few, wide);
  EXPECT_EQ(multiply_bytes(pool, kernels(), std::span(products).last(1)), 0U);
}

TEST_P(FewBitsTest, TakesFewBytes) {
  FewBitsShape shape{.rows = 3072, .cols = 768, .bits = 4, .groups = 6};
  EXPECT_LT(few_bits_bytes(kernels(), shape), 3072 * 768 * 0.57);
  shape.bits = 8;
  EXPECT_LT(few_bits_bytes(kernels(), shape), 3072 * 768 * 1.07);
}

}  // namespace
}  // namespace textmill::nn::kernel
