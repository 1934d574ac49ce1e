#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/error.h"
#include "nn/passes.h"

namespace textmill::nn {
namespace {

[[noreturn]] void fail(const std::string& what) {
  throw base::Error(base::Kind::invalid, "planning: " + what);
}

/// What the backward of a step reads besides its output's gradient: this is what forward must keep.
std::vector<int> saved_by(const Step& step) {
  const Op& op = step.op;
  switch (op.kind) {
    case Kind::linear: return step.trains(0) || op.weights.size() > 2 ? op.inputs : std::vector<int>{};
    case Kind::norm: return {op.inputs[0], op.outputs[1]};
    case Kind::activate:
      if (op.outputs.size() > 1) return {op.outputs[1]};  // the slope
      if (op.inputs.size() > 1 && step.d_inputs[0] < 0) return {op.inputs[0]};
      return op.inputs;
    case Kind::attend: return {op.inputs[0], op.inputs[1], op.inputs[2], op.outputs[0], op.outputs[1]};
    case Kind::add: return step.trains(0) ? std::vector<int>{op.inputs[1]} : std::vector<int>{};
    case Kind::cross_entropy: return {op.inputs[0], op.inputs[1], op.outputs[1]};
    case Kind::contrastive: return {op.inputs[0], op.inputs[1], op.inputs[2], op.outputs[1]};
    default: return {};
  }
}

class Derivation {
 public:
  explicit Derivation(Plan& plan)
      : plan_(plan), recording_(plan.recording), needs_(recording_.tensors.size()) {}

  void run() {
    find_needs();
    if (plan_.options.save_slope) add_slopes();
    for (const Op& op : recording_.ops) plan_.steps.push_back({.phase = Phase::forward, .op = op});
    if (plan_.options.backward == Backward::outputs) add_root();
    if (plan_.options.backward == Backward::losses && recording_.losses.empty()) fail("no loss was recorded");
    const std::vector<Op> ops = recording_.ops;
    for (size_t i = ops.size(); i-- > 0;) {
      if (has_gradient(ops[i])) add_backward(ops[i], ops);
    }
  }

 private:
  /// Whose gradient leads to a trainable weight.
  void find_needs() {
    for (const Op& op : recording_.ops) {
      bool needs = false;
      for (int input : op.inputs) needs = needs || needs_[input];
      for (int weight : op.weights) needs = needs || (weight >= 0 && recording_.weights[weight]->trainable);
      needs_[op.outputs[0]] = needs;
    }
  }

  void add_slopes() {
    for (Op& op : recording_.ops) {
      if (op.kind != Kind::activate || op.inputs.size() > 1 || !needs_[op.inputs[0]]) continue;
      const TensorInfo y = recording_.tensors[op.outputs[0]];
      op.outputs.push_back(recording_.add_tensor(y.space, y.cols, "slope"));
    }
    needs_.resize(recording_.tensors.size());
  }

  int new_gradient(int tensor) {
    const TensorInfo info = recording_.tensors[tensor];
    return recording_.add_tensor(info.space, info.cols, "d " + info.name);
  }

  void add_root() {
    if (recording_.outputs.empty()) fail("no output to take a loss of");
    Step root{.phase = Phase::loss};
    for (int output : recording_.outputs) {
      if (gradient_.count(output)) fail("an output given twice has two losses");
      int gradient = needs_[output] ? new_gradient(output) : -1;
      if (gradient >= 0) gradient_[output] = gradient;
      root.d_inputs.push_back(gradient);
    }
    root.reads = recording_.outputs;
    for (int gradient : root.d_inputs) {
      if (gradient >= 0) root.writes.push_back(gradient);
    }
    plan_.steps.push_back(std::move(root));
  }

  bool has_gradient(const Op& op) const {
    if (!needs_[op.outputs[0]]) return false;
    if (is_loss(op.kind)) return plan_.options.backward == Backward::losses;
    return gradient_.count(op.outputs[0]) > 0;
  }

  void add_backward(const Op& recorded, const std::vector<Op>& ops) {
    Step step{.phase = Phase::backward, .op = recomputed(recorded, ops)};
    if (recorded.kind == Kind::remember ||
        (recorded.kind == Kind::attend && recorded.as<AttendSpec>().slot >= 0)) {
      fail("no gradient through a cache");
    }
    if (!is_loss(recorded.kind)) step.d_output = gradient_.at(recorded.outputs[0]);
    for (size_t k = 0; k < recorded.inputs.size(); k++) {
      int input = recorded.inputs[k];
      if (!needs_[input]) {
        step.d_inputs.push_back(-1);
        continue;
      }
      auto [found, first] = gradient_.try_emplace(input, -1);
      if (first) {
        found->second = new_gradient(input);
      } else {
        step.accumulate |= 1u << k;
      }
      step.d_inputs.push_back(found->second);
    }
    for (size_t k = 0; k < recorded.weights.size(); k++) {
      int weight = recorded.weights[k];
      if (weight >= 0 && recording_.weights[weight]->trainable) step.trained |= 1u << k;
    }
    step.reads = saved_by(step);
    plan_.steps.push_back(std::move(step));
  }

  bool recomputes(int layer) const {
    const PlanOptions& options = plan_.options;
    if (layer < 0) return false;
    return options.recompute_all ||
           std::find(options.recompute.begin(), options.recompute.end(), layer) != options.recompute.end();
  }

  /// The operation on the tensors of its region's second run, which is placed before the region's first
  /// backward step.
  Op recomputed(Op op, const std::vector<Op>& ops) {
    if (!recomputes(op.layer)) return op;
    auto [found, first] = clones_.try_emplace(op.layer);
    std::map<int, int>& clone = found->second;
    auto renamed = [&](int tensor) { return clone.count(tensor) ? clone[tensor] : tensor; };
    for (size_t i = 0; first && i < ops.size(); i++) {
      if (ops[i].layer != op.layer) continue;
      Step again{.phase = Phase::forward, .op = ops[i], .recomputed = true};
      for (int& input : again.op.inputs) input = renamed(input);
      for (size_t k = 0; k < again.op.outputs.size(); k++) {
        int& output = again.op.outputs[k];
        bool small = k > 0 && ops[i].kind != Kind::activate;  // a few bytes a row: kept from the first run
        if (!small) {
          const TensorInfo info = recording_.tensors[output];
          clone[output] = recording_.add_tensor(info.space, info.cols, info.name + " again");
        }
        output = small ? -1 : clone[output];
      }
      plan_.steps.push_back(std::move(again));
    }
    for (int& input : op.inputs) input = renamed(input);
    for (int& output : op.outputs) output = renamed(output);
    return op;
  }

  Plan& plan_;
  Recording& recording_;
  std::vector<bool> needs_;
  std::map<int, int> gradient_;               // tensor -> its gradient
  std::map<int, std::map<int, int>> clones_;  // region -> tensor -> its tensor in the second run
};

}  // namespace

bool is_elementwise(Kind kind) {
  switch (kind) {
    case Kind::activate:
    case Kind::rotary:
    case Kind::add:
    case Kind::scale:
    case Kind::dropout:
    case Kind::cross_entropy: return true;
    default: return false;
  }
}

bool is_plain_add(const Op& op) { return op.kind == Kind::add && op.weights[0] < 0 && op.indexes.empty(); }

bool is_loss(Kind kind) { return kind == Kind::cross_entropy || kind == Kind::contrastive; }

void derive_steps(Plan& plan) {
  if (plan.options.backward != Backward::none) {
    Derivation(plan).run();
  } else {
    for (const Op& op : plan.recording.ops) plan.steps.push_back({.phase = Phase::forward, .op = op});
  }
}

void drop_unread(Plan& plan) {
  for (Step& step : plan.steps) {
    const Op& op = step.op;
    if (step.phase == Phase::forward) {
      step.reads = op.inputs;
      for (int output : op.outputs) {
        if (output >= 0) step.writes.push_back(output);
      }
    } else if (step.phase == Phase::backward) {
      if (step.d_output >= 0) step.reads.push_back(step.d_output);
      for (size_t k = 0; k < step.d_inputs.size(); k++) {
        if (step.d_inputs[k] < 0) continue;
        step.writes.push_back(step.d_inputs[k]);
        if (step.accumulates(k)) step.reads.push_back(step.d_inputs[k]);
      }
    }
  }
  std::vector<bool> read(plan.recording.tensors.size());
  for (int tensor : plan.recording.outputs) read[tensor] = true;
  for (int tensor : plan.recording.losses) read[tensor] = true;
  std::vector<Step> kept;
  for (size_t i = plan.steps.size(); i-- > 0;) {
    Step& step = plan.steps[i];
    bool live = step.phase != Phase::forward || step.op.kind == Kind::remember;
    for (int tensor : step.writes) live = live || read[tensor];
    if (!live) continue;
    for (int tensor : step.reads) read[tensor] = true;
    kept.push_back(std::move(step));
  }
  plan.steps.assign(std::make_move_iterator(kept.rbegin()), std::make_move_iterator(kept.rend()));
}

void fuse_heads(Plan& plan) {
  auto& steps = plan.steps;
  auto find = [&](Phase phase, int output) {
    return std::find_if(steps.begin(), steps.end(), [&](const Step& step) {
      return step.phase == phase && !step.recomputed && step.op.outputs[0] == output;
    });
  };
  for (int loss : plan.recording.losses) {
    auto forward = find(Phase::forward, loss);
    if (forward->op.kind != Kind::cross_entropy) continue;
    int logits = forward->op.inputs[0];
    auto readers = std::count_if(plan.recording.ops.begin(), plan.recording.ops.end(), [&](const Op& op) {
      return std::find(op.inputs.begin(), op.inputs.end(), logits) != op.inputs.end();
    });
    auto& outputs = plan.recording.outputs;
    bool only_reader = readers == 1 && std::find(outputs.begin(), outputs.end(), logits) == outputs.end();
    auto product =
        find(Phase::backward, logits);  // not found if a region recomputes it: its names are others there
    bool plain =
        product != steps.end() && product->op.kind == Kind::linear && product->op.weights.size() == 2;
    if (!only_reader || !plain || product->accumulate || find(Phase::backward, loss) == steps.end()) continue;
    Step head = *product;
    head.phase = Phase::head;
    head.loss_op = forward->op;
    head.d_output = -1;
    head.reads = {head.op.inputs[0], head.loss_op.inputs[1]};
    head.writes = {loss};
    if (head.d_inputs[0] >= 0) head.writes.push_back(head.d_inputs[0]);
    *forward = std::move(head);
    std::erase_if(steps, [&](const Step& step) {
      int output = step.phase == Phase::loss || step.phase == Phase::head ? -1 : step.op.outputs[0];
      return output == logits || output == loss;
    });
  }
}

}  // namespace textmill::nn
