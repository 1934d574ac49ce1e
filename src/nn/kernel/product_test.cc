#include "nn/kernel/product.h"

#include <gtest/gtest.h>

#include "nn/kernel/kernels.h"
#include "nn/kernel/pool.h"
#include "nn/kernel/testing.h"

namespace textmill::nn::kernel {
namespace {

struct Shape {
  int rows, cols;
  std::vector<int> depths;
};

/// A product with random operands, on one path, and its naive twin.
class Case {
 public:
  Case(const Kernels& kernels, Pool& pool, Type type, const Shape& shape) : kernels_(kernels), pool_(pool) {
    product.type = product.out_type = type;
    product.rows = shape.rows;
    product.cols = shape.cols;
    for (int depth : shape.depths) {
      Random random(depth + 1);
      a_.push_back(Rows(type, shape.rows, depth, random));
      Rows w(Type::f32, shape.cols, depth, random);
      packed_.emplace_back(packed_bytes(kernels, type, depth, shape.cols));
      pack_transposed(pool, kernels, type, w.f32(), shape.cols, depth, packed_.back().data());
      w_.push_back(w.as(type));
    }
    for (size_t t = 0; t < a_.size(); t++) {
      product.terms[t] = {a_[t].data(), packed_[t].data(), shape.depths[t]};
    }
    product.term_count = static_cast<int>(a_.size());
  }
  void with_everything(Activation activation) {
    Random random(3);
    bias_ = Rows(Type::f32, 1, product.cols, random);
    factor_ = Rows(product.type, product.rows, product.cols, random);
    residual_ = Rows(product.type, product.rows, product.cols, random);
    slope_ = Rows(product.type, product.rows, product.cols);
    for (int i = 0; i < product.rows; i++) keys_.push_back(1000 + 7 * i);
    product.scale = 0.5f;
    product.bias = bias_.f32();
    product.activation = activation;
    if (activation != Activation::none) product.slope = slope_.data();
    product.factor = factor_.data();
    product.residual = residual_.data();
    product.dropout = {DropoutRate(0.25), 5, 6, keys_.data()};
  }
  Rows run() {
    Rows out(product.out_type, product.rows, product.cols);
    product.out = out.data();
    multiply(pool_, kernels_, {&product, 1});
    return out;
  }
  const Rows& slope() const { return slope_; }

  double sum(int row, int col) const {
    double sum = 0;
    for (size_t t = 0; t < a_.size(); t++) {
      for (int k = 0; k < product.terms[t].depth; k++) sum += double{a_[t].at(row, k)} * w_[t].at(col, k);
    }
    return sum;
  }
  double naive(int row, int col, double* slope = nullptr) const {
    double x = sum(row, col) * product.scale + (product.bias ? bias_.at(0, col) : 0);
    x = naive_activation(product.activation, x, slope);
    if (product.factor) x *= factor_.at(row, col);
    if (product.dropout) { x *= product.dropout.rate.factor(product.dropout.row(row), col); }
    return x + (product.residual ? residual_.at(row, col) : 0);
  }

  Product product;

 private:
  const Kernels& kernels_;
  Pool& pool_;
  std::vector<Rows> a_, w_;
  std::vector<Aligned<std::byte>> packed_;
  Rows bias_, factor_, residual_, slope_;
  std::vector<uint64_t> keys_;
};

const Shape kShapes[] = {{1, 1, {1}},     {1, 48, {64}},   {8, 48, {32}},    {7, 49, {33}},
                         {17, 100, {65}}, {64, 96, {128}}, {150, 130, {70}}, {33, 47, {1, 2, 31}},
                         {3, 16, {3000}}, {40, 2, {384}},  {2, 500, {5}},    {25, 64, {64, 64, 64, 64}}};

class ProductTest : public PathTest {};
INSTANTIATE_TEST_SUITE_P(Paths, ProductTest, testing::ValuesIn(supported_paths()), path_name);

TEST_P(ProductTest, EqualsTheNaiveSum) {
  Pool pool(2);
  for (Type type : {Type::f32, Type::bf16}) {
    for (const Shape& shape : kShapes) {
      Case c(kernels(), pool, type, shape);
      c.product.out_type = Type::f32;
      Rows out = c.run();
      for (int i = 0; i < shape.rows; i++) {
        for (int j = 0; j < shape.cols; j++) {
          ASSERT_NEAR(out.at(i, j), c.sum(i, j), 2e-4)
              << shape.rows << "x" << shape.cols << " at " << i << "," << j;
        }
      }
    }
  }
}

TEST_P(ProductTest, FinishesRowsAsTheNaiveTwin) {
  Pool pool(2);
  for (Type type : {Type::f32, Type::bf16}) {
    double tolerance = type == Type::f32 ? 2e-5 : 2e-2;
    for (Activation activation : {Activation::none, Activation::gelu, Activation::gelu_tanh, Activation::relu,
                                  Activation::silu, Activation::tanh}) {
      for (const Shape& shape : {Shape{17, 100, {65}}, Shape{9, 48, {16, 8}}, Shape{1, 3, {2}}}) {
        Case c(kernels(), pool, type, shape);
        c.with_everything(activation);
        Rows out = c.run();
        for (int i = 0; i < shape.rows; i++) {
          for (int j = 0; j < shape.cols; j++) {
            double slope, expected = c.naive(i, j, &slope);
            ASSERT_NEAR(out.at(i, j), expected, tolerance * (1 + std::abs(expected))) << i << "," << j;
            if (c.product.slope) { ASSERT_NEAR(c.slope().at(i, j), slope, tolerance) << i << "," << j; }
          }
        }
      }
    }
  }
}

// What is beyond the end of `a`, or in the next row of an odd depth, must not leak in: not even as 0 · NaN.
TEST_P(ProductTest, IgnoresWhatItsNeighboursHold) {
  Pool pool(1);
  constexpr int kDepth = 3, kCols = 5;
  Random random(1);
  Rows w(Type::f32, kCols, kDepth, random);
  Aligned<std::byte> packed(packed_bytes(kernels(), Type::bf16, kDepth, kCols));
  pack_transposed(pool, kernels(), Type::bf16, w.f32(), kCols, kDepth, packed.data());
  Rows a(Type::bf16, 2, kDepth);
  for (int k = 0; k < kDepth; k++) a.set(0, k, 1), a.set(1, k, NAN);
  Rows out(Type::f32, 1, kCols);
  Product product{.type = Type::bf16, .rows = 1, .cols = kCols, .term_count = 1, .out = out.data()};
  product.terms[0] = {a.data(), packed.data(), kDepth};
  multiply(pool, kernels(), {&product, 1});
  for (int j = 0; j < kCols; j++) EXPECT_FALSE(std::isnan(out.at(0, j)));
}

TEST_P(ProductTest, GivesTheSameBytesForAnyThreadsAndAnyCompany) {
  for (Type type : {Type::f32, Type::bf16}) {
    for (const Shape& shape : {Shape{150, 130, {70}}, Shape{700, 384, {384}}, Shape{33, 47, {1, 2, 31}}}) {
      std::vector<Rows> results;
      for (int threads : {1, 2, 3}) {
        Pool pool(threads);
        Case c(kernels(), pool, type, shape);
        c.with_everything(Activation::gelu);
        results.push_back(c.run());
        EXPECT_EQ(results.back(), results.front());
        c.product.rows = 13;  // the first rows alone
        Rows alone = c.run();
        EXPECT_EQ(std::memcmp(alone.data(), results.front().data(), alone.bytes()), 0);
      }
    }
  }
}

TEST_P(ProductTest, RunsSeveralProductsAsOnePhase) {
  Pool pool(3);
  std::vector<Case> cases;
  for (int cols : {48, 1, 130}) cases.emplace_back(kernels(), pool, Type::bf16, Shape{20, cols, {64}});
  std::vector<Rows> together, alone;
  std::vector<Product> products;
  for (Case& c : cases) {
    alone.push_back(c.run());
    together.emplace_back(Type::bf16, 20, c.product.cols);
    products.push_back(c.product);
    products.back().out = together.back().data();
  }
  multiply(pool, kernels(), products);
  EXPECT_EQ(together, alone);
}

// dy · W, with W packed untransposed.
TEST_P(ProductTest, MultipliesWithAWeightAsItIs) {
  Pool pool(2);
  for (Type type : {Type::f32, Type::bf16}) {
    for (auto [rows, depth, cols] : {std::array{5, 7, 9}, {40, 100, 65}, {16, 64, 96}, {3, 33, 1}}) {
      Random random(rows);
      Rows dy(type, rows, depth, random), w(Type::f32, depth, cols, random), out(Type::f32, rows, cols);
      Aligned<std::byte> packed(packed_bytes(kernels(), type, depth, cols));
      pack(pool, kernels(), type, w.f32(), depth, cols, packed.data());
      Product product{.type = type, .rows = rows, .cols = cols, .term_count = 1, .out = out.data()};
      product.terms[0] = {dy.data(), packed.data(), depth};
      multiply(pool, kernels(), {&product, 1});
      Rows stored = w.as(type);
      for (int i = 0; i < rows; i++) {
        for (int j = 0; j < cols; j++) {
          double sum = 0;
          for (int k = 0; k < depth; k++) sum += double{dy.at(i, k)} * stored.at(k, j);
          ASSERT_NEAR(out.at(i, j), sum, 1e-4);
        }
      }
    }
  }
}

TEST_P(ProductTest, WeightGradientsEqualTheNaiveSum) {
  Pool pool(2);
  for (Type type : {Type::f32, Type::bf16}) {
    for (int rows : {0, 1, 2, 33, 300, 2500}) {
      Random random(rows);
      Rows x(type, rows, 50, random), dy1(type, rows, 7, random), dy2(type, rows, 97, random);
      Rows dw1(Type::f32, 7, 50, random), dw2(Type::f32, 97, 50, random), db1(Type::f32, 1, 7, random);
      for (bool accumulate : {false, true}) {
        Rows before1 = dw1, before2 = dw2, before_b = db1;
        WeightGradient gradients[] = {{dy1.data(), x.data(), 7, 50, dw1.f32(), db1.f32(), accumulate},
                                      {dy2.data(), x.data(), 97, 50, dw2.f32(), nullptr, accumulate}};
        Aligned<std::byte> scratch(weight_gradient_bytes(kernels(), type, rows, gradients));
        weight_gradients(pool, kernels(), type, rows, gradients, scratch.data());
        auto check = [&](const Rows& dy, const Rows& dw, const Rows& before) {
          for (int i = 0; i < dw.rows(); i++) {
            for (int j = 0; j < dw.cols(); j++) {
              double sum = accumulate ? before.at(i, j) : 0;
              for (int r = 0; r < rows; r++) sum += double{dy.at(r, i)} * x.at(r, j);
              ASSERT_NEAR(dw.at(i, j), sum, 1e-4 * (1 + std::sqrt(rows)))
                  << rows << " rows, at " << i << "," << j;
            }
          }
        };
        check(dy1, dw1, before1);
        check(dy2, dw2, before2);
        for (int i = 0; i < 7; i++) {
          double sum = accumulate ? before_b.at(0, i) : 0;
          for (int r = 0; r < rows; r++) sum += dy1.at(r, i);
          ASSERT_NEAR(db1.at(0, i), sum, 1e-4 * (1 + std::sqrt(rows)));
        }
      }
    }
  }
}

TEST_P(ProductTest, WeightGradientsGiveTheSameBytesForAnyThreads) {
  for (Type type : {Type::f32, Type::bf16}) {
    std::vector<Rows> results;
    for (int threads : {1, 2, 3}) {
      Pool pool(threads);
      Random random(1);
      Rows x(type, 1111, 130, random), dy(type, 1111, 100, random), dw(Type::f32, 100, 130),
          db(Type::f32, 1, 100);
      WeightGradient gradient{dy.data(), x.data(), 100, 130, dw.f32(), db.f32(), false};
      Aligned<std::byte> scratch(weight_gradient_bytes(kernels(), type, 1111, {&gradient, 1}));
      weight_gradients(pool, kernels(), type, 1111, {&gradient, 1}, scratch.data());
      results.push_back(dw);
      results.push_back(db);
      EXPECT_EQ(results[results.size() - 2], results[0]);
      EXPECT_EQ(results[results.size() - 1], results[1]);
    }
  }
}

}  // namespace
}  // namespace textmill::nn::kernel
