#include "train/adamw.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "train/order.h"
#include "train/schedule.h"

namespace textmill::train {
namespace {

struct AdamWTest : testing::Test {
  nn::kernel::Pool one_thread{1}, threads{3};
};

float noise(uint64_t seed, uint64_t i) { return static_cast<float>(derive(seed, i) >> 40) / (1 << 23) - 1; }

struct Values {
  explicit Values(size_t count) : values(count), gradient(count) {
    for (size_t i = 0; i < count; i++) values[i] = noise(1, i);
  }
  std::vector<float> values, gradient;
};

// torch.optim.AdamW([tensor([1., -2., 3.])], lr=0.1, weight_decay=0.01).
TEST_F(AdamWTest, is_torchs) {
  const std::vector<float> gradients[] = {{0.5, -1, 0}, {0.25, 2, -1e-3}, {0, 0.5, 0.125}};
  const std::vector<float> expected[] = {{0.8990000486, -1.8980000019, 2.9969999790},
                                         {0.8048830628, -1.9327124357, 3.0684156417},
                                         {0.7320203781, -1.9723447561, 3.0019278526}};
  std::vector<float> values{1, -2, 3}, gradient(3);
  AdamW adamw({{values, gradient, 3}}, {.weight_decay = 0.01}, one_thread);
  for (int t = 0; t < 3; t++) {
    gradient = gradients[t];
    adamw.step(0.1, 1);
    for (int i = 0; i < 3; i++) EXPECT_FLOAT_EQ(values[i], expected[t][i]) << t << " " << i;
    EXPECT_EQ(gradient, std::vector<float>(3)) << "cleared";
  }
}

TEST_F(AdamWTest, norm_and_scale) {
  std::vector<float> a{1, 1}, b{1}, ga{3, 0}, gb{4}, c{1, 1}, gc{0.3f, 0};
  AdamW adamw({{a, ga, 2}, {b, gb, 1}}, {}, one_thread);
  EXPECT_DOUBLE_EQ(adamw.gradient_norm(), 5);
  AdamW scaled({{c, gc, 2}}, {}, one_thread);
  adamw.step(0.1, 0.1);
  scaled.step(0.1, 1);
  EXPECT_NEAR(adamw.first_moment(0)[0], scaled.first_moment(0)[0], 1e-8);
}

// Missed steps of rows are applied later, and the bytes are those of the plain update.
TEST_F(AdamWTest, by_rows_is_exact) {
  constexpr int kRows = 50, kCols = 24, kSteps = 40;
  Values plain(kRows * kCols), sparse(kRows * kCols);
  AdamWOptions options{.weight_decay = 0.1};
  AdamW dense({{plain.values, plain.gradient, kCols}}, options, one_thread);
  AdamW lazy({{sparse.values, sparse.gradient, kCols, true, true}}, options, threads);
  LinearSchedule schedule(1e-2, 0.1, kSteps);
  for (int step = 0; step < kSteps; step++) {
    std::vector<int32_t> rows;
    for (int i = 0; i < 6; i++) rows.push_back(static_cast<int32_t>(derive(step, i) % (kRows - 1)));
    rows.push_back(rows[0]);
    lazy.prepare(0, rows);
    for (int32_t row : rows)
      for (int col = 0; col < kCols; col++) {
        int i = row * kCols + col;
        EXPECT_EQ(sparse.values[i], plain.values[i]) << "about to be read, step " << step;
        plain.gradient[i] = sparse.gradient[i] = noise(step, i);
      }
    EXPECT_NEAR(dense.gradient_norm(), lazy.gradient_norm(), 1e-9);
    dense.step(schedule.at(step), 0.5);
    lazy.step(schedule.at(step), 0.5);
    if (step == 13) lazy.settle();
    if (step == 20) {
      lazy.settle();
      lazy.restore(lazy.steps());
    }
  }
  EXPECT_NE(sparse.values, plain.values) << "something was left for settle()";
  lazy.settle();
  EXPECT_EQ(std::memcmp(sparse.values.data(), plain.values.data(), plain.values.size() * 4), 0);
  EXPECT_TRUE(std::ranges::equal(lazy.first_moment(0), dense.first_moment(0)));
  EXPECT_TRUE(std::ranges::equal(lazy.second_moment(0), dense.second_moment(0)));
}

// A row that is never read waits for no more than so many steps, whatever its width.
TEST_F(AdamWTest, what_is_deferred_is_bounded) {
  constexpr int kRows = 3, kCols = 70, kSteps = 600;
  Values plain(kRows * kCols), sparse(kRows * kCols);
  AdamWOptions options{.weight_decay = 0.1};
  AdamW dense({{plain.values, plain.gradient, kCols}}, options, one_thread);
  AdamW lazy({{sparse.values, sparse.gradient, kCols, true, true}}, options, threads);
  int64_t most = 0;
  for (int step = 0; step < kSteps; step++) {
    std::vector<int32_t> rows{0};
    lazy.prepare(0, rows);
    for (int col = 0; col < kCols; col++) plain.gradient[col] = sparse.gradient[col] = noise(step, col);
    dense.step(1e-2, 1);
    lazy.step(1e-2, 1);
    most = std::max(most, lazy.deferred());
  }
  EXPECT_EQ(lazy.most_deferred(), 256);
  EXPECT_LT(most, lazy.most_deferred());
  lazy.settle();
  EXPECT_EQ(std::memcmp(sparse.values.data(), plain.values.data(), plain.values.size() * 4), 0);
}

// So that no save waits for more updates than a second or two take.
TEST_F(AdamWTest, larger_tables_defer_less) {
  constexpr size_t kRows = 250'000, kCols = 96;
  Values table(kRows * kCols);
  AdamW lazy({{table.values, table.gradient, kCols, true, true}}, {}, one_thread);
  EXPECT_EQ(lazy.most_deferred(), (int64_t{1} << 31) / int64_t{kRows * kCols});
  EXPECT_LT(lazy.most_deferred(), 256);
}

TEST_F(AdamWTest, any_number_of_threads_gives_the_same_bytes) {
  constexpr size_t kCount = 200'003;
  Values a(kCount), b(kCount);
  AdamW one({{a.values, a.gradient, 1}}, {}, one_thread), other({{b.values, b.gradient, 1}}, {}, threads);
  for (size_t i = 0; i < kCount; i++) a.gradient[i] = b.gradient[i] = noise(3, i);
  EXPECT_EQ(one.gradient_norm(), other.gradient_norm());
  one.step(0.1, 1);
  other.step(0.1, 1);
  EXPECT_EQ(a.values, b.values);
}

// transformers.get_linear_schedule_with_warmup(optimizer, 3, 10) at lr 1.
TEST(Schedule, is_linear_with_warmup) {
  LinearSchedule schedule(1, 0.25, 10);
  EXPECT_EQ(schedule.warmup, 3);
  EXPECT_EQ(schedule.at(0), 0);
  EXPECT_DOUBLE_EQ(schedule.at(1), 1.0 / 3);
  EXPECT_DOUBLE_EQ(schedule.at(3), 1);
  EXPECT_DOUBLE_EQ(schedule.at(4), 6.0 / 7);
  EXPECT_DOUBLE_EQ(schedule.at(9), 1.0 / 7);
  EXPECT_EQ(schedule.at(10), 0);
  EXPECT_EQ(LinearSchedule(2, 0, 4).at(0), 2);
  EXPECT_EQ(LinearSchedule(1, 1, 4).at(3), 0.75);
}

}  // namespace
}  // namespace textmill::train
