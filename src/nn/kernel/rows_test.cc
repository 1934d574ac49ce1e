#include "nn/kernel/rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "nn/kernel/kernels.h"
#include "nn/kernel/pool.h"
#include "nn/kernel/testing.h"

namespace textmill::nn::kernel {
namespace {

using Value = std::function<double(int row, int col)>;

class RowsTest : public PathTest {
 protected:
  /// Each element against its naive twin: a rounding of bf16, or some of f32.
  static void expect_rows(const Rows& rows, Type type, const Value& twin) {
    double tolerance = type == Type::bf16 ? 0.01 : 2e-5;
    for (int i = 0; i < rows.rows(); i++) {
      for (int j = 0; j < rows.cols(); j++) {
        double expected = twin(i, j);
        ASSERT_NEAR(rows.at(i, j), expected, tolerance * (1 + std::abs(expected)))
            << "row " << i << ", column " << j;
      }
    }
  }

  /// `body` on both types and on shapes with odd ends; the bytes that it returns are equal on 1, 2 and 3 threads.
  void on_shapes(const std::function<Rows(Pool&, Type, int rows, int cols)>& body) {
    Pool one(1), two(2), three(3);
    for (Type type : {Type::f32, Type::bf16}) {
      for (auto [rows, cols] : {std::pair{1, 1}, {3, 7}, {16, 48}, {19, 70}, {0, 5}}) {
        Rows result = body(one, type, rows, cols);
        if (HasFatalFailure()) return;
        EXPECT_EQ(result, body(two, type, rows, cols));
        EXPECT_EQ(result, body(three, type, rows, cols));
      }
    }
  }
};

std::vector<uint64_t> keys(int rows) {
  std::vector<uint64_t> keys(rows);
  for (int i = 0; i < rows; i++) keys[i] = 77 + 3 * i;
  return keys;
}
double kept(const Dropout& dropout, int row, int col) { return dropout.rate.factor(dropout.row(row), col); }

TEST_P(RowsTest, Mix) {
  on_shapes([&](Pool& pool, Type type, int rows, int cols) {
    Random random(1);
    Rows a(type, rows, cols, random), b(type, rows, cols, random), before(type, rows, cols, random),
        out = before;
    std::vector<int32_t> mask(rows);
    for (int i = 0; i < rows; i++) mask[i] = i % 3 != 0;
    auto key = keys(rows);
    Mix m{.type = type,
          .rows = rows,
          .cols = cols,
          .a = {a.data(), 0.5F, mask.data(), {}},
          .b = {b.data(), 2, nullptr, {DropoutRate(0.3), 1, 2, key.data()}},
          .out = out.data(),
          .accumulate = true};
    mix(pool, kernels(), m);
    expect_rows(out, type, [&](int i, int j) {
      return before.at(i, j) + 0.5 * mask[i] * a.at(i, j) + 2 * kept(m.b.dropout, i, j) * b.at(i, j);
    });
    m = {
        .type = type, .rows = rows, .cols = cols, .a = {a.data(), -1, nullptr, {}}, .b = {}, .out = a.data()};
    Rows source = a;
    mix(pool, kernels(), m);
    expect_rows(a, type, [&](int i, int j) { return -source.at(i, j); });
    return out;
  });
}

TEST_P(RowsTest, Dot) {
  on_shapes([&](Pool& pool, Type type, int rows, int cols) {
    Random random(2);
    Rows x(type, rows, cols, random), y(type, rows, cols, random);
    std::vector<int32_t> mask(rows);
    double expected = 0;
    for (int i = 0; i < rows; i++) {
      mask[i] = i % 2;
      for (int j = 0; j < cols; j++) expected += double{x.at(i, j)} * y.at(i, j) * mask[i];
    }
    std::vector<std::byte> scratch(dot_bytes(rows));
    double sum = dot(pool, kernels(), type, rows, cols, x.data(), y.data(), mask.data(), scratch.data());
    EXPECT_NEAR(sum, expected, 1e-4);
    Rows bytes(Type::f32, 1, 1);
    bytes.set(0, 0, static_cast<float>(sum));
    return bytes;
  });
}

/// One norm with random operands, and its naive twin.
struct NormCase {
  NormCase(NormKind kind, Type type, int rows, int size, int groups)
      : random(static_cast<uint64_t>(kind) + 5),
        x(type, rows, size * groups, random),
        y(type, rows, size * groups),
        scale(Type::f32, 1, size, random),
        bias(Type::f32, 1, size, random) {
    norm = {.kind = kind,
            .type = type,
            .rows = rows,
            .cols = size * groups,
            .size = size,
            .eps = 1e-5F,
            .scale = kind == NormKind::l2 ? nullptr : scale.f32(),
            .bias = kind == NormKind::layer ? bias.f32() : nullptr,
            .x = x.data(),
            .y = y.data(),
            .side = nullptr};
    side = Rows(Type::f32, rows, norm.side_cols());
    norm.side = side.f32();
    measure();
  }
  void measure() {  // the twin's statistics of each group
    for (int group = 0; group < norm.rows * norm.groups(); group++) {
      int i = group / norm.groups(), first = group % norm.groups() * norm.size;
      double sum = 0, squares = 0;
      for (int j = 0; j < norm.size && norm.kind == NormKind::layer; j++) sum += x.at(i, first + j);
      means.push_back(sum / norm.size);
      for (int j = 0; j < norm.size; j++) squares += std::pow(x.at(i, first + j) - means.back(), 2);
      inverses.push_back(norm.kind == NormKind::l2 ? 1 / std::max(std::sqrt(squares), 1e-12)
                                                   : 1 / std::sqrt(squares / norm.size + norm.eps));
    }
  }
  double inverse(int i, int j) const { return inverses[i * norm.groups() + j / norm.size]; }
  double hat(int i, int j) const {
    return (x.at(i, j) - means[i * norm.groups() + j / norm.size]) * inverse(i, j);
  }
  double weight(int j) const { return norm.scale ? scale.at(0, j % norm.size) : 1; }
  double forward(int i, int j) const {
    return hat(i, j) * weight(j) + (norm.bias ? bias.at(0, j % norm.size) : 0);
  }
  double backward(const Rows& dy, int i, int j) const {
    int first = j / norm.size * norm.size;
    double sum = 0, product = 0, divisor = norm.kind == NormKind::l2 ? 1 : norm.size;
    for (int k = first; k < first + norm.size; k++) {
      if (norm.kind == NormKind::layer) sum += dy.at(i, k) * weight(k);
      product += dy.at(i, k) * weight(k) * hat(i, k);
    }
    return inverse(i, j) * (dy.at(i, j) * weight(j) - sum / divisor - hat(i, j) * product / divisor);
  }

  Random random;
  Rows x, y, scale, bias, side;
  Norm norm;
  std::vector<double> means, inverses;
};

TEST_P(RowsTest, NormForwardAndBackward) {
  for (NormKind kind : {NormKind::layer, NormKind::rms, NormKind::l2}) {
    for (int groups : {1, 3}) {
      on_shapes([&](Pool& pool, Type type, int rows, int size) {
        if (size == 1) return Rows();  // its variance is nothing but rounding
        NormCase c(kind, type, rows, size, groups);
        norm(pool, kernels(), c.norm);
        expect_rows(c.y, type, [&](int i, int j) { return c.forward(i, j); });
        int cols = size * groups;
        Rows dy(type, rows, cols, c.random), before(type, rows, cols, c.random), dx = before;
        Rows d_scale(Type::f32, 1, size), d_bias(Type::f32, 1, size);
        std::vector<std::byte> scratch(norm_backward_bytes(rows, size));
        NormBackward b{.norm = c.norm,
                       .dy = dy.data(),
                       .dx = dx.data(),
                       .accumulate = true,
                       .d_scale = d_scale.f32(),
                       .d_bias = d_bias.f32()};
        norm_backward(pool, kernels(), b, scratch.data());
        double scale = 1 + size / 20.0;  // errors of a sum grow with it
        expect_rows(dx, type, [&](int i, int j) { return before.at(i, j) + c.backward(dy, i, j); });
        for (int j = 0; j < size; j++) {
          double expected_scale = 0, expected_bias = 0;
          for (int i = 0; i < rows; i++) {
            for (int g = 0; g < groups; g++) {
              expected_scale += dy.at(i, g * size + j) * c.hat(i, g * size + j);
              expected_bias += dy.at(i, g * size + j);
            }
          }
          EXPECT_NEAR(d_scale.at(0, j), expected_scale, 1e-4 * scale);
          EXPECT_NEAR(d_bias.at(0, j), expected_bias, 1e-4 * scale);
        }
        auto key = keys(rows);
        Rows plain(type, rows, cols), dropped(type, rows, cols);
        b = {.norm = c.norm,
             .dy = dy.data(),
             .dx = plain.data(),
             .d_dropped = dropped.data(),
             .dropout = {DropoutRate(0.4), 3, 4, key.data()}};
        norm_backward(pool, kernels(), b, scratch.data());
        expect_rows(dropped, type,
                    [&](int i, int j) { return c.backward(dy, i, j) * kept(b.dropout, i, j); });
        return dx;
      });
    }
  }
}

TEST_P(RowsTest, ActivateForwardAndBackward) {
  for (Activation kind :
       {Activation::gelu, Activation::gelu_tanh, Activation::relu, Activation::silu, Activation::tanh}) {
    on_shapes([&](Pool& pool, Type type, int rows, int cols) {
      Random random(6);
      Rows x(type, rows, cols, random), gate(type, rows, cols, random), y(type, rows, cols),
          slope(type, rows, cols);
      Activate a{.activation = kind,
                 .type = type,
                 .rows = rows,
                 .cols = cols,
                 .x = x.data(),
                 .gate = gate.data(),
                 .y = y.data(),
                 .slope = slope.data()};
      activate(pool, kernels(), a);
      expect_rows(y, type,
                  [&](int i, int j) { return naive_activation(kind, x.at(i, j), nullptr) * gate.at(i, j); });
      auto derivative = [&](int i, int j) {
        double s;
        naive_activation(kind, x.at(i, j), &s);
        return s;
      };
      expect_rows(slope, type, derivative);
      Rows dy(type, rows, cols, random), dx(type, rows, cols), before(type, rows, cols, random),
          d_gate = before;
      a.y = a.slope = nullptr;
      activate_backward(pool, kernels(), {a, dy.data(), dx.data(), d_gate.data(), false, true});
      expect_rows(dx, type, [&](int i, int j) { return dy.at(i, j) * derivative(i, j) * gate.at(i, j); });
      expect_rows(d_gate, type, [&](int i, int j) {
        return before.at(i, j) + dy.at(i, j) * naive_activation(kind, x.at(i, j), nullptr);
      });
      a.gate = a.x = nullptr;
      a.slope = slope.data();
      activate_backward(pool, kernels(), {a, dy.data(), dx.data(), nullptr});
      expect_rows(dx, type, [&](int i, int j) { return dy.at(i, j) * slope.at(i, j); });
      return dx;
    });
  }
}

TEST_P(RowsTest, EmbedForwardAndBackward) {
  on_shapes([&](Pool& pool, Type type, int rows, int cols) {
    Random random(7);
    Rows table(Type::f32, 5, cols, random), other(Type::f32, 2, cols, random), y(type, rows, cols);
    Rows gradient(Type::f32, 5, cols, random), before = gradient;
    std::vector<int32_t> ids(rows), types(rows);
    for (int i = 0; i < rows; i++) ids[i] = random.below(5), types[i] = i % 2;
    Embed e{.type = type,
            .rows = rows,
            .cols = cols,
            .count = 2,
            .tables = {{.values = table.f32(), .ids = ids.data(), .gradient = gradient.f32()},
                       {.values = other.f32(), .ids = types.data()}},
            .y = y.data()};
    embed(pool, kernels(), e);
    expect_rows(y, type, [&](int i, int j) { return double{table.at(ids[i], j)} + other.at(types[i], j); });
    Rows dy(type, rows, cols, random);
    embed_backward(pool, kernels(), e, dy.data());
    expect_rows(gradient, Type::f32, [&](int id, int j) {
      double sum = before.at(id, j);
      for (int i = 0; i < rows; i++) sum += ids[i] == id ? dy.at(i, j) : 0;
      return sum;
    });
    return gradient;
  });
}

TEST_P(RowsTest, GatherAndScatter) {
  on_shapes([&](Pool& pool, Type type, int rows, int cols) {
    Random random(8);
    int count = rows / 2 + 1;
    Rows x(type, rows + 1, cols, random), y(type, count, cols), sum(type, rows + 1, cols, random);
    std::vector<int32_t> index(count);
    for (int i = 0; i < count; i++) index[i] = random.below(rows + 1);
    gather(pool, type, count, cols, x.data(), index.data(), y.data());
    expect_rows(y, type, [&](int i, int j) { return x.at(index[i], j); });
    scatter(pool, kernels(), type, count, cols, y.data(), index.data(), rows + 1, sum.data(), false);
    expect_rows(sum, type, [&](int i, int j) {
      return x.at(i, j) * static_cast<double>(std::count(index.begin(), index.end(), i));
    });
    scatter(pool, kernels(), type, count, cols, y.data(), index.data(), rows + 1, sum.data(), true);
    expect_rows(sum, type, [&](int i, int j) {
      return 2 * x.at(i, j) * static_cast<double>(std::count(index.begin(), index.end(), i));
    });
    return sum;
  });
}

TEST_P(RowsTest, MeanForwardAndBackward) {
  on_shapes([&](Pool& pool, Type type, int rows, int cols) {
    Random random(9);
    std::vector<int32_t> begin = {0, rows / 3, rows / 3, rows};
    Rows x(type, rows, cols, random), y(type, 3, cols), dy(type, 3, cols, random), dx(type, rows, cols);
    mean(pool, kernels(), type, cols, begin, x.data(), y.data());
    expect_rows(y, type, [&](int s, int j) {
      double sum = 0;
      for (int i = begin[s]; i < begin[s + 1]; i++) sum += x.at(i, j);
      return sum / std::max(1, begin[s + 1] - begin[s]);
    });
    mean_backward(pool, kernels(), type, cols, begin, dy.data(), dx.data(), false);
    expect_rows(dx, type, [&](int i, int j) {
      int s = i < rows / 3 ? 0 : 2;
      return dy.at(s, j) / double(begin[s + 1] - begin[s]);
    });
    return dx;
  });
}

TEST_P(RowsTest, CrossEntropyForwardAndBackward) {
  on_shapes([&](Pool& pool, Type type, int rows, int cols) {
    Random random(10);
    Rows logits(type, rows, cols, random), weights(Type::f32, rows, 1, random), losses(Type::f32, rows, 1),
        sums(Type::f32, rows, 1);
    std::vector<int32_t> labels(rows);
    for (int i = 0; i < rows; i++) labels[i] = i % 5 == 4 ? -1 : random.below(cols);
    CrossEntropy c{.type = type,
                   .rows = rows,
                   .cols = cols,
                   .logits = logits.data(),
                   .labels = labels.data(),
                   .weights = weights.f32(),
                   .losses = losses.f32(),
                   .log_sums = sums.f32()};
    cross_entropy(pool, kernels(), c);
    auto log_sum = [&](int i) {
      double sum = 0;
      for (int j = 0; j < cols; j++) sum += std::exp(double{logits.at(i, j)});
      return std::log(sum);
    };
    expect_rows(losses, Type::f32, [&](int i, int) {
      return labels[i] < 0 ? 0 : weights.at(i, 0) * (log_sum(i) - logits.at(i, labels[i]));
    });
    Rows d(type, rows, cols);
    cross_entropy_backward(pool, kernels(), c, d.data(), false);
    expect_rows(d, type, [&](int i, int j) {
      return labels[i] < 0 ? 0
                           : weights.at(i, 0) * (std::exp(logits.at(i, j) - log_sum(i)) - (labels[i] == j));
    });
    return d;
  });
}

TEST_P(RowsTest, Convert) {
  Pool pool(2);
  Random random(11);
  Rows x(Type::f32, 3, 20001, random), y(Type::bf16, 3, 20001), back(Type::f32, 3, 20001);
  convert(pool, kernels(), x.data(), Type::f32, y.data(), Type::bf16, 60003);
  EXPECT_EQ(y, x.as(Type::bf16));
  convert(pool, kernels(), y.data(), Type::bf16, back.data(), Type::f32, 60003);
  EXPECT_EQ(back, y.as(Type::f32));
}

TEST_P(RowsTest, AdamW) {
  const int count = 2051;
  Random random(12);
  Rows p(Type::f32, 1, count, random), g(Type::f32, 1, count, random), m(Type::f32, 1, count, random),
      v(Type::f32, 1, count);
  for (int j = 0; j < count; j++) v.set(0, j, random() + 1.01F);
  double squares = 0;
  for (int j = 0; j < count; j++) squares += double{g.at(0, j)} * g.at(0, j);
  EXPECT_NEAR(kernels().optimizer.squares(g.f32(), count), squares, 1e-4);
  Rows p0 = p, g0 = g, m0 = m, v0 = v;
  AdamWStep s{.decay = 0.99F, .step_size = 0.1F, .root_correction = 0.5F, .gradient_scale = 0.25F};
  kernels().optimizer.adamw(s, p.f32(), g.f32(), m.f32(), v.f32(), count);
  auto moment = [&](int j) { return 0.9 * m0.at(0, j) + 0.1 * 0.25 * g0.at(0, j); };
  auto square = [&](int j) { return 0.999 * v0.at(0, j) + 0.001 * std::pow(0.25 * g0.at(0, j), 2); };
  expect_rows(m, Type::f32, [&](int, int j) { return moment(j); });
  expect_rows(v, Type::f32, [&](int, int j) { return square(j); });
  expect_rows(p, Type::f32, [&](int, int j) {
    return 0.99 * p0.at(0, j) - 0.1 * moment(j) / (std::sqrt(square(j)) / 0.5 + 1e-8);
  });
  expect_rows(g, Type::f32, [](int, int) { return 0; });
}

INSTANTIATE_TEST_SUITE_P(Paths, RowsTest, testing::ValuesIn(supported_paths()), path_name);

}  // namespace
}  // namespace textmill::nn::kernel
