#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace textmill::train {

/// The learning rate of step `step` (from 0), as transformers' get_linear_schedule_with_warmup has it: from 0 up to the
/// peak over the warm-up, then down to 0 at the end.
struct LinearSchedule {
  double peak = 0;
  int64_t warmup = 0, total = 0;

  LinearSchedule(double peak, double warmup_ratio, int64_t total)
      : peak(peak),
        warmup(static_cast<int64_t>(std::ceil(static_cast<double>(total) * warmup_ratio))),
        total(total) {}

  double at(int64_t step) const {
    if (step < warmup) return peak * (static_cast<double>(step) / static_cast<double>(warmup));
    return peak * std::max(0.0, static_cast<double>(total - step) /
                                    static_cast<double>(std::max<int64_t>(1, total - warmup)));
  }
};

}  // namespace textmill::train
