#include "train/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "train/loss.h"
#include "train/order.h"

namespace textmill::train {
namespace {

/// Only rows that `index` names are read: those are the rows that a step changes.
bool only_gathered_by(const nn::WeightUse& use, nn::Index index) {
  return use.gathered && !use.product && !use.transposed && !use.vector &&
         use.gathered_by == std::vector{index.id};
}

}  // namespace

Trainer::Trainer(TrainingPlan plan, const TrainOptions& options, nn::kernel::Pool& pool)
    : options_(options),
      plan_(std::move(plan)),
      engine_(plan_.plan, pool),
      adamw_(parameters(), {.weight_decay = options.weight_decay}, pool) {}

std::vector<Parameter> Trainer::parameters() {
  std::vector<Parameter> parameters;
  const nn::Plan& plan = plan_.plan;
  for (size_t i = 0; i < plan.uses.size(); i++) {
    if (!plan.uses[i].trained) continue;
    nn::Weight* weight = plan.recording.weights[i];
    bool by_rows = only_gathered_by(plan.uses[i], plan_.inputs.ids);
    if (by_rows) by_rows_.push_back(trained_.size());
    trained_.push_back(weight);
    parameters.push_back({.values = weight->own(),
                          .gradient = engine_.gradient(static_cast<int>(i)),
                          .cols = weight->cols,
                          .decays = !weight->is_vector,
                          .by_rows = by_rows});
  }
  return parameters;
}

std::optional<double> Trainer::run(const Examples& examples, std::span<const uint32_t> rows, uint64_t seed,
                                   double row_weight, const std::stop_token& stop) {
  batch_.clear();
  labels_.clear();
  for (uint32_t row : rows) {
    batch_.add(examples.input_ids(row), examples.type_ids(row), row);
    labels_.push_back(examples.label(row));
  }
  double loss = 0;
  auto root = [&](std::span<const nn::RootRows<float>> outputs) {
    const auto& logits = outputs[0];
    size_t count = static_cast<size_t>(logits.rows) * logits.cols;
    loss = cross_entropy_root({logits.output, count}, labels_, row_weight, {logits.gradient, count});
  };
  if (!engine_.run(batch_.fill(plan_.inputs, plan_.plan.recording, seed), root, stop)) return {};
  return loss;
}

std::optional<StepResult> Trainer::step(const Examples& examples, std::span<const uint32_t> rows,
                                        int64_t step, double learning_rate, std::stop_token stop) {
  words_.clear();
  for (uint32_t row : rows) {
    auto ids = examples.input_ids(row);
    words_.insert(words_.end(), ids.begin(), ids.end());
  }
  for (size_t weight : by_rows_) adamw_.prepare(weight, words_);
  engine_.refresh();
  StepResult result;
  for (size_t first = 0; first < rows.size(); first += options_.batch_size) {
    auto part = rows.subspan(first, std::min<size_t>(options_.batch_size, rows.size() - first));
    auto loss =
        run(examples, part, derive(~options_.seed, step), 1.0 / static_cast<double>(rows.size()), stop);
    if (!loss) return {};
    result.loss += *loss;
  }
  result.gradient_norm = adamw_.gradient_norm();
  if (!std::isfinite(result.loss) || !std::isfinite(result.gradient_norm)) {
    throw base::Error(
        base::Kind::invalid,
        fmt::format("the loss of step {} is {}, its gradient's norm {}: the learning rate {} is too high",
                    step + 1, result.loss, result.gradient_norm, options_.learning_rate));
  }
  double scale = options_.max_grad_norm > 0
                     ? std::min(1.0, options_.max_grad_norm / (result.gradient_norm + 1e-6))  // torch's 1e-6
                     : 1.0;
  adamw_.step(learning_rate, scale);
  return result;
}

}  // namespace textmill::train
