#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

#include "base/time.h"
#include "train/order.h"

namespace textmill::train {

/// What people and metric patterns see of a run, on stderr: on a terminal a bar that is drawn over, else a line per ten
/// steps and per epoch's end: `epoch=1 step=20/230 loss=0.6123 samples_per_second=241.3`, where steps count over all
/// epochs and the loss is the mean of the steps since the line before.
class Progress {
 public:
  Progress(const Steps& steps, int64_t first_step, FILE* out = stderr);

  /// After step `step` (from 0) took `rows` rows. `seconds` of work since the start: tokenization and steps.
  void step(int64_t step, double loss, size_t rows, double seconds);
  /// Takes the bar away, if there is one: the next line is somebody else's.
  void clear();
  /// One line of its own, above the bar if there is one: "epoch=1 validation_accuracy=0.80".
  void line(const std::string& text);

 private:
  void say(const std::string& text);
  void draw(int64_t step, double loss, double rate, double seconds);

  static constexpr int64_t kEvery = 10;
  Steps steps_;
  int64_t first_step_;
  FILE* out_;
  bool terminal_, drawn_ = false;
  base::SteadyTime last_drawn_{};
  double loss_ = 0;
  int64_t losses_ = 0, rows_ = 0;
};

}  // namespace textmill::train
