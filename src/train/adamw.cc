#include "train/adamw.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace textmill::train {
namespace {

/// Values of a task: small enough to share out, large enough to be worth it. Fixed, for it decides the order of sums.
constexpr int64_t kPiece = 1 << 16;
/// Updates of single values that may wait in a parameter.
constexpr int64_t kMostWaiting = int64_t{1} << 31;

}  // namespace

AdamW::AdamW(std::vector<Parameter> parameters, AdamWOptions options, nn::kernel::Pool& pool)
    : parameters_(std::move(parameters)),
      options_(options),
      pool_(&pool),
      kernels_(&nn::kernel::kernels(nn::kernel::choose_path())),
      state_(parameters_.size()) {
  for (size_t i = 0; i < parameters_.size(); i++) {
    const Parameter& p = parameters_[i];
    TEXTMILL_CHECK(p.values.size() == p.gradient.size() && p.cols > 0 && p.values.size() % p.cols == 0);
    state_[i].m.resize(p.values.size());
    state_[i].v.resize(p.values.size());
    if (!p.by_rows) continue;
    most_deferred_ = std::clamp<int64_t>(kMostWaiting / std::ssize(p.values), 1, most_deferred_);
    state_[i].applied.resize(p.values.size() / p.cols);
    state_[i].moving.resize(p.values.size() / p.cols);
  }
}

void AdamW::restore(int64_t steps) {
  steps_ = settled_ = steps;
  for (auto& passed : passed_) passed.clear();
  auto moves = [](float x) { return x != 0; };
  for (size_t i = 0; i < parameters_.size(); i++) {
    State& state = state_[i];
    std::fill(state.applied.begin(), state.applied.end(), steps);
    int64_t cols = parameters_[i].cols;
    for (size_t row = 0; row < state.moving.size(); row++) {
      state.moving[row] = std::any_of(&state.m[row * cols], &state.m[row * cols] + cols, moves) ||
                          std::any_of(&state.v[row * cols], &state.v[row * cols] + cols, moves);
    }
  }
}

void AdamW::prepare(size_t index, std::span<const int32_t> rows) {
  State& state = state_[index];
  TEXTMILL_CHECK(parameters_[index].by_rows);
  state.rows.assign(rows.begin(), rows.end());
  std::sort(state.rows.begin(), state.rows.end());
  state.rows.erase(std::unique(state.rows.begin(), state.rows.end()), state.rows.end());
  pool_->run(static_cast<int>(state.rows.size()), [&](int i, int) { catch_up(index, state.rows[i]); });
}

AdamW::Scalars AdamW::scalars(double rate, bool decays) const {
  double t = static_cast<double>(steps_ + 1);
  return {.decay = static_cast<float>(1 - rate * (decays ? options_.weight_decay : 0)),
          .step_size = static_cast<float>(rate / (1 - std::pow(options_.beta1, t))),
          .root_correction = static_cast<float>(std::sqrt(1 - std::pow(options_.beta2, t)))};
}

void AdamW::update(size_t index, int64_t first, int64_t count, const Scalars& s, double gradient_scale) {
  const nn::kernel::AdamWStep arithmetic{.decay = s.decay,
                                         .step_size = s.step_size,
                                         .root_correction = s.root_correction,
                                         .rise1 = static_cast<float>(1 - options_.beta1),
                                         .beta2 = static_cast<float>(options_.beta2),
                                         .rise2 = static_cast<float>(1 - options_.beta2),
                                         .epsilon = static_cast<float>(options_.epsilon),
                                         .gradient_scale = static_cast<float>(gradient_scale)};
  kernels_->optimizer.adamw(arithmetic, &parameters_[index].values[first],
                            &parameters_[index].gradient[first], &state_[index].m[first],
                            &state_[index].v[first], count);
}

void AdamW::catch_up(size_t index, int64_t row) {
  State& state = state_[index];
  int64_t cols = parameters_[index].cols;
  auto missed = std::span(passed_[parameters_[index].decays]).subspan(state.applied[row] - settled_);
  state.applied[row] = steps_;
  if (state.moving[row]) {
    for (const Scalars& s : missed) update(index, row * cols, cols, s, 0);
  } else if (parameters_[index].decays && options_.weight_decay != 0) {
    shrink(parameters_[index].values.subspan(row * cols, cols), missed);
  }
}

/// A row whose moments are 0 only decays, by one factor after the other: a block of it stays in registers meanwhile.
void AdamW::shrink(std::span<float> row, std::span<const Scalars> steps) {
  constexpr size_t kBlock = 32;
  for (; row.size() >= kBlock; row = row.subspan(kBlock)) {
    float block[kBlock];
    std::copy_n(row.begin(), kBlock, block);
    for (const Scalars& s : steps) {
      for (float& value : block) value *= s.decay;
    }
    std::copy_n(block, kBlock, row.begin());
  }
  for (const Scalars& s : steps) {
    for (float& value : row) value *= s.decay;
  }
}

std::vector<AdamW::Piece> AdamW::pieces() const {
  std::vector<Piece> pieces;
  for (size_t i = 0; i < parameters_.size(); i++) {
    const Parameter& p = parameters_[i];
    int64_t total = p.by_rows ? std::ssize(state_[i].rows) : std::ssize(p.values);
    int64_t size = p.by_rows ? std::max<int64_t>(1, kPiece / p.cols) : kPiece;
    for (int64_t first = 0; first < total; first += size) {
      pieces.push_back({i, first, std::min(size, total - first)});
    }
  }
  return pieces;
}

double AdamW::gradient_norm() const {
  auto all = pieces();
  std::vector<double> sums(all.size());
  pool_->run(static_cast<int>(all.size()), [&](int task, int) {
    auto [index, first, count] = all[task];
    const Parameter& p = parameters_[index];
    if (!p.by_rows) {
      sums[task] = kernels_->optimizer.squares(&p.gradient[first], count);
      return;
    }
    for (int32_t row : std::span(state_[index].rows).subspan(first, count)) {
      sums[task] += kernels_->optimizer.squares(&p.gradient[row * p.cols], p.cols);
    }
  });
  return std::sqrt(std::accumulate(sums.begin(), sums.end(), 0.0));
}

void AdamW::step(double learning_rate, double gradient_scale) {
  Scalars with = scalars(learning_rate, true), without = scalars(learning_rate, false);
  passed_[0].push_back(without);
  passed_[1].push_back(with);
  auto all = pieces();
  pool_->run(static_cast<int>(all.size()), [&](int task, int) {
    auto [index, first, count] = all[task];
    const Parameter& p = parameters_[index];
    const Scalars& s = p.decays ? with : without;
    if (!p.by_rows) return update(index, first, count, s, gradient_scale);
    State& state = state_[index];
    for (int32_t row : std::span(state.rows).subspan(first, count)) {
      update(index, row * p.cols, p.cols, s, gradient_scale);
      state.applied[row] = steps_ + 1;
      state.moving[row] = 1;
    }
  });
  for (State& state : state_) state.rows.clear();
  steps_++;
  if (deferred() >= most_deferred_) settle();
}

void AdamW::settle() {
  for (size_t i = 0; i < parameters_.size(); i++) {
    if (!parameters_[i].by_rows) continue;
    int64_t rows = std::ssize(state_[i].applied), size = std::max<int64_t>(1, kPiece / parameters_[i].cols);
    pool_->run(static_cast<int>((rows + size - 1) / size), [&](int task, int) {
      int64_t end = std::min<int64_t>(rows, (task + 1) * size);
      for (int64_t row = task * size; row < end; row++) catch_up(i, row);
    });
  }
  settled_ = steps_;
  for (auto& passed : passed_) passed.clear();
}

}  // namespace textmill::train
