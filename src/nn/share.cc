#include <algorithm>
#include <numeric>

#include "nn/passes.h"

namespace textmill::nn {
namespace {

/// Reads and writes of a tensor, or of all that share its memory, in the order of steps.
struct Access {
  int step;
  bool write;
};

class Sharing {
 public:
  explicit Sharing(Plan& plan)
      : plan_(plan), recording_(plan.recording), accesses_(recording_.tensors.size()) {
    group_of_.resize(plan.steps.size());
    for (size_t g = 0; g < plan.groups.size(); g++) {
      const Group& group = plan.groups[g];
      std::fill_n(group_of_.begin() + group.first, group.count, static_cast<int>(g));
    }
    for (size_t i = 0; i < plan.steps.size(); i++) {
      for (int tensor : plan.steps[i].reads) accesses_[tensor].push_back({static_cast<int>(i), false});
      for (int tensor : plan.steps[i].writes) accesses_[tensor].push_back({static_cast<int>(i), true});
    }
    end_ = static_cast<int>(plan.steps.size());
    for (int tensor : recording_.outputs) accesses_[tensor].push_back({end_, false});
    for (int tensor : recording_.losses) accesses_[tensor].push_back({end_, false});
    plan.buffer.resize(recording_.tensors.size());
    std::iota(plan.buffer.begin(), plan.buffer.end(), 0);
  }

  void run() {
    for (int i = 0; plan_.options.alias && i < end_; i++) {
      Step& step = plan_.steps[i];
      if (!is_elementwise(step.op.kind)) continue;
      if (step.phase == Phase::forward) share_forward(step, i);
      if (step.phase == Phase::backward) share_backward(step, i);
    }
    for (int& buffer : plan_.buffer) buffer = find(buffer);
    set_lifetimes();
  }

 private:
  int find(int tensor) const {
    while (plan_.buffer[tensor] != tensor) tensor = plan_.buffer[tensor];
    return tensor;
  }

  void share_forward(const Step& step, int at) {
    for (int input : step.op.inputs) {
      if (merge(input, step.op.outputs[0], at, false)) return;
    }
  }

  void share_backward(Step& step, int at) {
    if (step.d_output < 0) {  // a loss: the gradient of the logits over the logits
      if (step.d_inputs[0] >= 0 && !step.accumulates(0))
        merge(step.op.inputs[0], step.d_inputs[0], at, false);
      return;
    }
    for (size_t k = 0; k < step.d_inputs.size(); k++) {
      int d_input = step.d_inputs[k];
      bool once = std::count(step.d_inputs.begin(), step.d_inputs.end(), d_input) == 1;
      if (d_input < 0 || step.accumulates(k) || !once) continue;
      bool unchanged = step.op.kind == Kind::add && (k == 0 || is_plain_add(step.op));
      if (unchanged && merge(step.d_output, d_input, at, true)) step.skip |= 1u << k;
      if (step.op.kind != Kind::add && merge(step.d_output, d_input, at, false)) return;
    }
  }

  /// Gives `b`, first written by step `at` from `a`, the memory of `a`, if no reader can tell. With
  /// `same_value` both may be read afterwards, as long as neither is written.
  bool merge(int a, int b, int at, bool same_value) {
    a = find(a);
    b = find(b);
    if (a == b || is_elided(a) || is_elided(b)) return false;
    const TensorInfo &x = recording_.tensors[a], &y = recording_.tensors[b];
    if (x.space != y.space || x.cols != y.cols || x.format != y.format) return false;
    for (const Access& of_a : accesses_[a]) {
      for (const Access& of_b : accesses_[b]) {
        bool clash =
            same_value ? spoils(of_a, of_b, at) || spoils(of_b, of_a, at) : of_a.step > at || of_b.step < at;
        if (clash || !may_interleave(of_a, of_b)) return false;
      }
    }
    plan_.buffer[b] = a;
    accesses_[a].insert(accesses_[a].end(), accesses_[b].begin(), accesses_[b].end());
    return true;
  }

  static bool spoils(const Access& write, const Access& read, int at) {
    return write.write && !read.write && write.step > at && read.step >= write.step;
  }

  /// The steps of one fused phase run tile by tile. Two names for one memory are safe there only if each step
  /// touches, for a row of its result, no other row.
  bool may_interleave(const Access& x, const Access& y) const {
    if (x.step == end_ || y.step == end_ || group_of_[x.step] != group_of_[y.step]) return true;
    if (plan_.groups[group_of_[x.step]].count == 1 || !(x.write || y.write)) return true;
    return stays_in_row(plan_.steps[x.step].op.kind) && stays_in_row(plan_.steps[y.step].op.kind);
  }
  static bool stays_in_row(Kind kind) { return is_elementwise(kind) || kind == Kind::norm; }

  /// Written and read inside of one fused phase only, and so are all tensors between that phase's steps: an executor
  /// fuses a phase, or runs it step by step with memory for each of them.
  bool is_elided(int tensor) const {
    if (!is_inside(tensor)) return false;
    const Group& group = plan_.groups[group_of_[accesses_[tensor][0].step]];
    for (int i = group.first + 1; i < group.first + group.count; i++) {
      const Step &step = plan_.steps[i], &before = plan_.steps[i - 1];
      int link = step.phase == Phase::forward ? before.op.outputs[0] : step.d_output;
      if (!is_inside(link)) return false;
    }
    return true;
  }

  bool is_inside(int tensor) const {
    const auto& accesses = accesses_[tensor];
    if (accesses.empty() || accesses.back().step == end_) return false;
    int group = group_of_[accesses[0].step];
    if (plan_.groups[group].count == 1) return false;
    return std::all_of(accesses.begin(), accesses.end(),
                       [&](const Access& a) { return group_of_[a.step] == group; });
  }

  void set_lifetimes() {
    plan_.first_use.assign(recording_.tensors.size(), -1);
    plan_.last_use.assign(recording_.tensors.size(), -1);
    for (size_t tensor = 0; tensor < accesses_.size(); tensor++) {
      const auto& accesses = accesses_[tensor];
      bool read = std::any_of(accesses.begin(), accesses.end(), [](const Access& a) { return !a.write; });
      if (find(static_cast<int>(tensor)) != static_cast<int>(tensor) || !read ||
          is_elided(static_cast<int>(tensor)))
        continue;
      int first = INT32_MAX, last = 0;
      for (const Access& access : accesses) {
        int group = access.step == end_ ? static_cast<int>(plan_.groups.size()) : group_of_[access.step];
        first = std::min(first, group);
        last = std::max(last, group);
      }
      plan_.first_use[tensor] = first;
      plan_.last_use[tensor] = last;
    }
  }

  Plan& plan_;
  const Recording& recording_;
  std::vector<std::vector<Access>> accesses_;
  std::vector<int> group_of_;  // per step
  int end_ = 0;
};

}  // namespace

void share_memory(Plan& plan) { Sharing(plan).run(); }

}  // namespace textmill::nn
