#include "nn/plan.h"

#include <algorithm>

#include "base/error.h"
#include "nn/passes.h"

namespace textmill::nn {
namespace {

/// Activations and their gradients in the plan's format; what leaves or enters the plan, and side results, in
/// f32.
void set_formats(Plan& plan) {
  Recording& recording = plan.recording;
  std::vector<bool> f32(recording.tensors.size());
  for (const Step& step : plan.steps) {
    if (step.op.kind == Kind::input && !step.op.outputs.empty()) f32[step.op.outputs[0]] = true;
    bool slope = step.op.kind == Kind::activate;
    for (size_t k = 1; k < step.op.outputs.size() && !slope; k++) {
      if (step.op.outputs[k] >= 0) f32[step.op.outputs[k]] = true;
    }
    for (int gradient : step.d_inputs) {
      if (step.phase == Phase::loss && gradient >= 0) f32[gradient] = true;
    }
  }
  for (int tensor : recording.outputs) f32[tensor] = true;
  for (int tensor : recording.losses) f32[tensor] = true;
  for (size_t tensor = 0; tensor < f32.size(); tensor++) {
    recording.tensors[tensor].format = f32[tensor] ? Format::f32 : plan.options.format;
  }
}

void find_saved(Plan& plan) {
  std::vector<bool> made(plan.recording.tensors.size()), saved(made.size());
  for (const Step& step : plan.steps) {
    bool forward = step.phase == Phase::forward && !step.recomputed;
    for (int tensor : step.writes) {
      if (forward) made[tensor] = true;
    }
    for (int tensor : step.reads) {
      if (step.phase == Phase::backward && made[tensor]) saved[tensor] = true;
    }
  }
  for (size_t tensor = 0; tensor < saved.size(); tensor++) {
    if (saved[tensor]) plan.saved.push_back(static_cast<int>(tensor));
  }
}

void find_uses(Plan& plan) {
  plan.uses.resize(plan.recording.weights.size());
  plan.ready.resize(plan.steps.size());
  std::vector<int> last(plan.uses.size(), -1);
  for (size_t i = 0; i < plan.steps.size(); i++) {
    const Step& step = plan.steps[i];
    const Op& op = step.op;
    for (size_t k = 0; k < op.weights.size(); k++) {
      if (op.weights[k] < 0) continue;
      WeightUse& use = plan.uses[op.weights[k]];
      bool matrix = op.kind == Kind::linear && k != 1;
      use.vector |= !matrix && op.kind != Kind::embed;
      use.product |=
          matrix && (step.phase != Phase::backward || k >= 2);  // a·x is computed again, never saved
      use.transposed |= matrix && step.phase != Phase::forward && (k >= 2 || step.d_inputs[0] >= 0);
      if (op.kind == Kind::embed) {
        use.gathered = true;
        if (std::find(use.gathered_by.begin(), use.gathered_by.end(), op.indexes[k]) ==
            use.gathered_by.end()) {
          use.gathered_by.push_back(op.indexes[k]);
        }
      }
      if (step.trains(k)) last[op.weights[k]] = static_cast<int>(i);
    }
  }
  for (size_t weight = 0; weight < last.size(); weight++) {
    if (last[weight] < 0) continue;
    plan.uses[weight].trained = true;
    plan.ready[last[weight]].push_back(static_cast<int>(weight));
  }
}

/// Query-key pairs that one attention looks at. A cache's length is known here only where it is causal.
int64_t visible_pairs(const Recording& recording, const Op& op, const Batch& batch) {
  const AttendSpec& spec = op.as<AttendSpec>();
  const Rows& queries = batch.rows(recording.tensors[op.inputs[0]].space);
  const Rows* keys = spec.slot < 0 ? &batch.rows(recording.tensors[op.inputs[1]].space) : nullptr;
  int64_t pairs = 0;
  for (int row = 0; row < queries.count; row++) {
    int past = queries.pos[row] + 1;
    int visible = keys ? keys->length(queries.seq[row]) : past;
    if (spec.causal) visible = std::min(visible, past);
    if (spec.window > 0) visible = std::min(visible, spec.window);
    pairs += visible;
  }
  return pairs;
}

int64_t products(const Recording& recording, const Op& op) {
  int64_t per_row = 0;
  for (size_t k = 0; k < op.weights.size(); k++) {
    if (k != 1 && op.weights[k] >= 0) per_row += recording.weights[op.weights[k]]->count();
  }
  return per_row;
}

}  // namespace

Plan make_plan(Recording recording, PlanOptions options) {
  Plan plan;
  plan.options = std::move(options);
  plan.recording = plan.options.narrow ? narrow(recording) : std::move(recording);
  derive_steps(plan);
  if (plan.options.backward == Backward::losses && plan.options.fuse_head) fuse_heads(plan);
  drop_unread(plan);
  set_formats(plan);
  group_steps(plan);
  share_memory(plan);
  find_saved(plan);
  find_uses(plan);
  return plan;
}

int64_t Plan::flops(const Step& step, const Batch& batch) const {
  const Op& op = step.op;
  if (op.kind == Kind::attend) {
    const AttendSpec& spec = op.as<AttendSpec>();
    int64_t product = 2ll * spec.heads * spec.head_dim * visible_pairs(recording, op, batch);
    return product * (step.phase == Phase::forward ? 2 : 5);
  }
  if (op.kind != Kind::linear) return 0;
  int64_t rows = batch.rows(recording.tensors[op.inputs[0]].space).count;
  int64_t product = 2 * rows * products(recording, op);
  int times = step.phase != Phase::backward ? 1 : 0;
  if (step.phase != Phase::forward)
    times += (step.d_inputs[0] >= 0) + (step.trains(0) || op.weights.size() > 2);
  return times * product;
}

int64_t Plan::flops(const Batch& batch) const {
  int64_t sum = 0;
  for (const Step& step : steps) sum += flops(step, batch);
  return sum;
}

void Plan::assign(const Batch& batch, Layout& layout, size_t element_bytes) const {
  constexpr size_t kAlignment = 64;
  size_t tensors = recording.tensors.size();
  auto& [offset, bytes, size, order, placed] = layout;
  offset.assign(tensors, Layout::kNowhere);
  size.resize(tensors);
  order.clear();
  placed.clear();
  bytes = 0;
  for (size_t t = 0; t < tensors; t++) {
    if (first_use[t] < 0) continue;
    const TensorInfo& info = recording.tensors[t];
    size_t element = element_bytes ? element_bytes : info.format == Format::f32 ? 4 : 2;
    size_t used = element * info.cols * batch.rows(info.space).count;
    size[t] = (used + kAlignment - 1) / kAlignment * kAlignment;
    order.push_back(static_cast<int>(t));
  }
  std::sort(order.begin(), order.end(),
            [&](int a, int b) { return size[a] != size[b] ? size[a] > size[b] : a < b; });
  // The largest first, each into the lowest gap between those that live at the same time; `placed` is in
  // order of offset.
  for (int t : order) {
    size_t at = 0;
    for (int other : placed) {
      bool together = first_use[other] <= last_use[t] && first_use[t] <= last_use[other];
      if (!together) continue;
      if (at + size[t] <= offset[other]) break;
      at = std::max(at, offset[other] + size[other]);
    }
    offset[t] = at;
    bytes = std::max(bytes, at + size[t]);
    auto later = [&](int a, int b) { return offset[a] < offset[b]; };
    placed.insert(std::upper_bound(placed.begin(), placed.end(), t, later), t);
  }
  for (size_t t = 0; t < tensors; t++) offset[t] = offset[buffer[t]];
}

}  // namespace textmill::nn
