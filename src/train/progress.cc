#include "train/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace textmill::train {
namespace {

std::string clock(double seconds) {
  auto whole = static_cast<int64_t>(seconds);
  return whole < 3600 ? fmt::format("{}:{:02}", whole / 60, whole % 60)
                      : fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

}  // namespace

Progress::Progress(const Steps& steps, int64_t first_step, FILE* out)
    : steps_(steps), first_step_(first_step), out_(out), terminal_(isatty(fileno(out)) == 1) {}

void Progress::step(int64_t step, double loss, size_t rows, double seconds) {
  loss_ += loss;
  losses_++;
  rows_ += static_cast<int64_t>(rows);
  double rate = static_cast<double>(rows_) / std::max(seconds, 1e-9),
         mean = loss_ / static_cast<double>(losses_);
  bool last_of_epoch = (step + 1) % steps_.per_epoch() == 0;
  if (terminal_) draw(step, mean, rate, seconds);
  if (!last_of_epoch && (step + 1) % kEvery != 0) return;
  if (!terminal_) {
    line(fmt::format("epoch={} step={}/{} loss={:.4f} samples_per_second={:.1f}", steps_.epoch_of(step) + 1,
                     step + 1, steps_.total(), mean, rate));
  }
  loss_ = 0;
  losses_ = 0;
}

/// Where it cannot be written, nobody can be told.
void Progress::say(const std::string& text) {
  std::fputs(text.c_str(), out_);
  std::fflush(out_);
}

void Progress::clear() {
  if (std::exchange(drawn_, false)) say("\r\x1b[K");
}

void Progress::line(const std::string& text) {
  clear();
  say(text + "\n");
}

void Progress::draw(int64_t step, double loss, double rate, double seconds) {
  auto now = base::steady_now();
  if (now - last_drawn_ < std::chrono::milliseconds(100) && step + 1 < steps_.total()) return;
  last_drawn_ = now;
  constexpr int kWidth = 30;
  int64_t done = step + 1, full = done * kWidth / steps_.total();
  double left =
      seconds / static_cast<double>(done - first_step_) * static_cast<double>(steps_.total() - done);
  say(fmt::format("\r\x1b[Kepoch {}/{}  [{:#<{}}{:.<{}}] {}/{}  loss {:.4f}  {:.1f} samples/s  {} left",
                  steps_.epoch_of(step) + 1, steps_.epochs, "", full, "", kWidth - full, done, steps_.total(),
                  loss, rate, clock(left)));
  drawn_ = true;
}

}  // namespace textmill::train
