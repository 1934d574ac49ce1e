#pragma once

// For tests: random weights, and the check that every plan of a recording gives the same numbers, and the
// right ones.

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "nn/naive.h"
#include "nn/plan.h"

namespace textmill::nn::testing {

/// Uniform in (-scale, scale); a norm's scale, which begins at 1, around 1.
inline void randomize(std::span<Weight* const> weights, uint64_t seed, float scale = 0.4f) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<float> uniform(-scale, scale);
  for (Weight* weight : weights) {
    bool norm = weight->is_vector && weight->name.find("norm") != std::string::npos &&
                weight->name.ends_with("weight");
    for (float& value : weight->own()) value = uniform(random) + (norm ? 1.0f : 0.0f);
  }
}

/// Patterns like those of a CPU engine, in front of its own.
inline const std::vector<Pattern>& sample_patterns() {
  static const std::vector<Pattern> patterns{
      {.id = 0, .name = "products", .chain = {Kind::linear}, .siblings = true},
      {.id = 1, .name = "product, activation", .chain = {Kind::linear, Kind::activate}},
      {.id = 2, .name = "dropout, sum, norm", .chain = {Kind::dropout, Kind::add, Kind::norm}},
      {.id = 3, .name = "sum, norm", .chain = {Kind::add, Kind::norm}},
      {.id = 4, .name = "product, sum", .chain = {Kind::linear, Kind::add}},
      {.id = 5, .name = "embedding, norm", .chain = {Kind::embed, Kind::norm}},
      {.id = 6,
       .name = "back: products",
       .phase = Phase::backward,
       .chain = {Kind::linear},
       .siblings = true},
      {.id = 7,
       .name = "back: norm, sum, dropout",
       .phase = Phase::backward,
       .chain = {Kind::norm, Kind::add, Kind::dropout}},
      {.id = 8,
       .name = "back: product, activation",
       .phase = Phase::backward,
       .chain = {Kind::linear, Kind::activate}},
  };
  return patterns;
}

/// One recording's numbers under all plans.
class PlanCheck {
 public:
  /// The batch as it was filled, not derived. Recorded losses are the loss, or, if there are none, a fixed
  /// random linear function of the outputs.
  PlanCheck(Recording recording, Batch batch) : recording_(std::move(recording)), batch_(std::move(batch)) {}

  void run() {
    PlanOptions plain{.backward = backward(), .narrow = false, .alias = false, .fuse_head = false};
    Result expected = gradients(plain, false);
    ASSERT_TRUE(std::isfinite(expected.loss));
    for (const auto& [name, options, arena] : variants(plain)) {
      SCOPED_TRACE(name);
      Result result = gradients(options, arena);
      EXPECT_NEAR(result.loss, expected.loss, 1e-12 * std::abs(expected.loss));
      compare(result, expected);
    }
    finite_differences(plain, expected);
  }

 private:
  struct Result {
    double loss = 0;
    std::vector<std::vector<double>> gradients;  // per weight
  };
  struct Variant {
    const char* name;
    PlanOptions options;
    bool arena;
  };

  Backward backward() const { return recording_.losses.empty() ? Backward::outputs : Backward::losses; }

  static std::vector<Variant> variants(const PlanOptions& plain) {
    auto with = [&](auto change) {
      PlanOptions options = plain;
      change(options);
      return options;
    };
    PlanOptions best{.backward = plain.backward, .save_slope = true, .patterns = sample_patterns()};
    PlanOptions recomputed = best;
    recomputed.recompute_all = true;
    return {{"arena", plain, true},
            {"alias", with([](auto& o) { o.alias = true; }), true},
            {"narrow", with([](auto& o) { o.narrow = true; }), false},
            {"head", with([](auto& o) { o.fuse_head = true; }), true},
            {"slope", with([](auto& o) { o.save_slope = true; }), true},
            {"recompute one", with([](auto& o) { o.recompute = {0}; }), true},
            {"recompute all", with([](auto& o) { o.recompute_all = true; }), true},
            {"patterns", with([](auto& o) { o.patterns = sample_patterns(); }), true},
            {"defaults", {.backward = plain.backward}, true},
            {"all", best, true},
            {"all, recomputed", recomputed, true}};
  }

  static double probe(std::span<const RootRows<double>> roots) {
    double loss = 0;
    uint64_t state = 1;
    for (const auto& [output, gradient, rows, cols] : roots) {
      for (int i = 0; i < rows * cols; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        double slope = static_cast<double>(state >> 40) * 0x1p-24 - 0.5;
        loss += slope * output[i];
        if (gradient) gradient[i] = slope;
      }
    }
    return loss;
  }

  double loss_of(Naive<double>& engine, const Plan& plan, const Batch& batch) const {
    engine.run(batch);
    if (!recording_.losses.empty()) return engine.loss();
    std::vector<RootRows<double>> roots;
    for (size_t i = 0; i < plan.recording.outputs.size(); i++) {
      auto output = engine.output(static_cast<int>(i));
      roots.push_back({output.data(), nullptr, 1, static_cast<int>(output.size())});
    }
    return probe(roots);
  }

  Result gradients(const PlanOptions& options, bool arena) {
    Plan plan = make_plan(recording_, options);
    Batch batch = batch_;
    batch.derive(plan.recording);
    Naive<double> engine(plan, arena);
    Result result;
    for (int pass = 0; pass < 2; pass++) {  // nothing of a run is left for the next
      engine.clear_gradients();
      engine.run(batch, [&](auto roots) { result.loss = probe(roots); });
    }
    if (!recording_.losses.empty()) result.loss = engine.loss();
    for (size_t w = 0; w < plan.uses.size(); w++) {
      auto gradient = engine.gradient(static_cast<int>(w));
      bool frozen = !recording_.weights[w]->trainable;
      EXPECT_EQ(plan.uses[w].trained, !gradient.empty());
      EXPECT_FALSE(frozen && plan.uses[w].trained) << recording_.weights[w]->name;
      result.gradients.emplace_back(gradient.begin(), gradient.end());
    }
    return result;
  }

  void compare(const Result& result, const Result& expected) {
    for (size_t w = 0; w < expected.gradients.size(); w++) {
      ASSERT_EQ(result.gradients[w].size(), expected.gradients[w].size());
      double worst = 0, largest = 1e-6;
      for (size_t i = 0; i < expected.gradients[w].size(); i++) {
        ASSERT_FALSE(std::isnan(result.gradients[w][i])) << recording_.weights[w]->name;
        worst = std::max(worst, std::abs(result.gradients[w][i] - expected.gradients[w][i]));
        largest = std::max(largest, std::abs(expected.gradients[w][i]));
      }
      EXPECT_LT(worst / largest, 1e-11) << recording_.weights[w]->name;
    }
  }

  void finite_differences(const PlanOptions& plain, const Result& expected) {
    constexpr double kStep = 1e-5;
    constexpr int kSamples = 4;
    PlanOptions forward = plain;
    forward.backward = Backward::none;
    Plan plan = make_plan(recording_, forward);
    Batch batch = batch_;
    batch.derive(plan.recording);
    Naive<double> engine(plan, false);
    double largest = 0;
    for (auto& gradient : expected.gradients) {
      for (double value : gradient) largest = std::max(largest, std::abs(value));
    }
    EXPECT_GT(largest, 0);
    std::mt19937_64 random(3);
    for (size_t w = 0; w < expected.gradients.size(); w++) {
      auto& gradient = expected.gradients[w];
      for (int sample = 0; sample < kSamples && !gradient.empty(); sample++) {
        size_t i = random() % gradient.size();
        for (int again = 0; again < 20 && gradient[i] == 0; again++) i = random() % gradient.size();
        double& value = engine.weight(static_cast<int>(w))[i];
        double here = value;
        value = here + kStep;
        double above = loss_of(engine, plan, batch);
        value = here - kStep;
        double below = loss_of(engine, plan, batch);
        value = here;
        double slope = (above - below) / (2 * kStep);
        EXPECT_NEAR(slope, gradient[i], 2e-5 * (std::abs(gradient[i]) + 1e-3 * largest))
            << recording_.weights[w]->name << "[" << i << "]";
      }
    }
  }

  Recording recording_;
  Batch batch_;
};

}  // namespace textmill::nn::testing
