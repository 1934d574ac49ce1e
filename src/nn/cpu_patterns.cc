#include <algorithm>
#include <vector>

#include "nn/cpu.h"
#include "nn/cpu_patterns.h"
#include "nn/passes.h"

namespace textmill::nn {
namespace {

using Chain = std::span<const Step* const>;

/// The residual of a final add is another tensor than the chain's own.
bool adds_residual(const Recording&, Chain chain) {
  const Op &made = chain[chain.size() - 2]->op, &add = chain.back()->op;
  return is_plain_add(add) && std::count(add.inputs.begin(), add.inputs.end(), made.outputs[0]) == 1;
}

bool activates_alone(const Recording&, Chain chain) { return chain[1]->op.inputs.size() == 1; }

bool writes(const Step& step) { return step.d_inputs[0] >= 0 && !step.accumulates(0); }

bool has_slope(const Recording&, Chain chain) {
  return chain[1]->op.outputs.size() > 1 && chain[0]->op.weights.size() == 2 && writes(*chain[0]) &&
         chain[1]->d_inputs[0] >= 0;
}

/// The gradient of a norm of x + dropout(y): that of x, and dropped out that of y.
bool sums_plainly(const Recording&, Chain chain) {
  const Step &norm = *chain[0], &sum = *chain[1], &dropout = *chain[2];
  if (!is_plain_add(sum.op) || !writes(norm) || !writes(dropout) || sum.d_inputs[0] < 0 ||
      sum.d_inputs[1] < 0)
    return false;
  int side = sum.d_inputs[0] == dropout.d_output ? 0 : 1;
  return sum.d_inputs[0] != sum.d_inputs[1] && !sum.accumulates(side);
}

bool share_product(const Recording&, Chain chain) {
  return chain.size() <= kernel::Product::kMaxTerms &&
         std::all_of(chain.begin(), chain.end(),
                     [](const Step* step) { return step->op.weights.size() == 2; });
}

}  // namespace

std::span<const Pattern> cpu_patterns() {
  using enum Kind;
  static const std::vector<Pattern> patterns = {
      {kLinearChain, "linear, dropout, add", Phase::forward, {linear, dropout, add}, false, adds_residual},
      {kLinearChain, "linear, add", Phase::forward, {linear, add}, false, adds_residual},
      {kLinearChain, "linear, activate", Phase::forward, {linear, activate}, false, activates_alone},
      {kLinearChain, "linear, dropout", Phase::forward, {linear, dropout}, false, nullptr},
      {kLinearSiblings, "linear layers of one tensor", Phase::forward, {linear}, true, share_product},
      {kNormDropout, "norm, add, dropout", Phase::backward, {norm, add, dropout}, false, sums_plainly},
      {kLinearActivate, "linear, activate", Phase::backward, {linear, activate}, false, has_slope},
      {kLinearSiblings, "linear layers of one tensor", Phase::backward, {linear}, true, share_product},
  };
  return patterns;
}

}  // namespace textmill::nn
