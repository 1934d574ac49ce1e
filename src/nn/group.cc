#include <algorithm>

#include "nn/passes.h"

namespace textmill::nn {
namespace {

bool intersect(const std::vector<int>& a, const std::vector<int>& b) {
  return std::any_of(a.begin(), a.end(), [&](int x) { return std::find(b.begin(), b.end(), x) != b.end(); });
}

/// Whether two neighbouring steps may change places.
bool independent(const Step& a, const Step& b) {
  return !intersect(a.writes, b.reads) && !intersect(a.reads, b.writes) && !intersect(a.writes, b.writes);
}

/// Whether `next` takes what `step` makes.
bool follows(const Step& step, const Step& next) {
  if (step.phase == Phase::forward) {
    auto& inputs = next.op.inputs;
    return std::find(inputs.begin(), inputs.end(), step.op.outputs[0]) != inputs.end();
  }
  auto& made = step.d_inputs;
  return next.d_output >= 0 && std::find(made.begin(), made.end(), next.d_output) != made.end();
}

/// What siblings share: the tensor that they read, or the gradient that they sum.
bool are_siblings(const Step& a, const Step& b) {
  if (a.phase == Phase::forward) return a.op.inputs[0] == b.op.inputs[0];
  return a.d_inputs[0] >= 0 && a.d_inputs[0] == b.d_inputs[0];
}

class Grouping {
 public:
  explicit Grouping(Plan& plan) : plan_(plan), steps_(plan.steps), group_(plan.steps.size(), kAlone) {}

  void run() {
    for (const Pattern& pattern : plan_.options.patterns) {
      for (int i = 0; i < count(); i++) {
        if (fits(pattern, 0, i)) match(pattern, i);
      }
    }
    for (int i = 0; i < count(); i++) {
      if (i > 0 && group_[i] != kAlone && group_[i] == group_[i - 1]) {
        plan_.groups.back().count++;
      } else {
        plan_.groups.push_back({.pattern = group_[i] == kAlone ? -1 : patterns_[group_[i]], .first = i});
      }
    }
  }

 private:
  static constexpr int kAlone = -1;

  int count() const { return static_cast<int>(steps_.size()); }

  bool fits(const Pattern& pattern, size_t link, int i) const {
    return group_[i] == kAlone && steps_[i].phase == pattern.phase &&
           steps_[i].op.kind == pattern.chain[link];
  }

  std::vector<int> chain(const Pattern& pattern, int first) const {
    std::vector<int> members{first};
    for (size_t link = 1; link < pattern.chain.size(); link++) {
      int i = members.back() + 1;
      while (i < count() && !(fits(pattern, link, i) && follows(steps_[members.back()], steps_[i]))) i++;
      if (i == count()) return {};
      members.push_back(i);
    }
    return members;
  }

  std::vector<int> siblings(const Pattern& pattern, int first) const {
    std::vector<int> members{first};
    for (int i = first + 1; i < count(); i++) {
      if (fits(pattern, 0, i) && are_siblings(steps_[first], steps_[i])) members.push_back(i);
    }
    return members;
  }

  void match(const Pattern& pattern, int first) {
    std::vector<int> members = pattern.siblings ? siblings(pattern, first) : chain(pattern, first);
    for (; members.size() > 1; members.pop_back()) {
      if (accepted(pattern, members) && gather(members)) {
        patterns_.push_back(pattern.id);
        return;
      }
      if (!pattern.siblings) return;
    }
  }

  bool accepted(const Pattern& pattern, const std::vector<int>& members) const {
    std::vector<const Step*> chosen;
    chosen.reserve(members.size());
    for (int i : members) chosen.push_back(&steps_[i]);
    return !pattern.accepts || pattern.accepts(plan_.recording, chosen);
  }

  /// Moves the members next to each other, to the first or to the last, if the steps between allow it.
  bool gather(const std::vector<int>& members) {
    int first = members.front(), last = members.back();
    auto is_member = [&](int i) { return std::find(members.begin(), members.end(), i) != members.end(); };
    bool rise = true, sink = true;
    for (int between = first + 1; between < last; between++) {
      if (is_member(between)) continue;
      for (int member : members) {
        if (independent(steps_[between], steps_[member])) continue;
        (member > between ? rise : sink) = false;
      }
    }
    if (!rise && !sink) return false;
    std::vector<Step> moved, others;
    std::vector<int> other_groups;
    for (int i = first; i <= last; i++) {
      if (is_member(i)) {
        moved.push_back(std::move(steps_[i]));
      } else {
        others.push_back(std::move(steps_[i]));
        other_groups.push_back(group_[i]);
      }
    }
    int group = static_cast<int>(patterns_.size());
    int here = rise ? first : last + 1 - static_cast<int>(moved.size()),
        there = rise ? first + static_cast<int>(moved.size()) : first;
    for (Step& step : moved) {
      group_[here] = group;
      steps_[here++] = std::move(step);
    }
    for (size_t i = 0; i < others.size(); i++) {
      group_[there] = other_groups[i];
      steps_[there++] = std::move(others[i]);
    }
    return true;
  }

  Plan& plan_;
  std::vector<Step>& steps_;
  std::vector<int> group_;     // per step
  std::vector<int> patterns_;  // per group
};

}  // namespace

void group_steps(Plan& plan) { Grouping(plan).run(); }

}  // namespace textmill::nn
