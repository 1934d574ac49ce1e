#include "train/progress.h"

#include <gtest/gtest.h>

#include <memory>

namespace textmill::train {
namespace {

std::string text_of(FILE* file) {
  std::string text(static_cast<size_t>(std::ftell(file)), '\0');
  std::rewind(file);
  EXPECT_EQ(std::fread(text.data(), 1, text.size(), file), text.size());
  return text;
}

TEST(Progress, plain_lines_that_a_metric_pattern_can_read) {
  std::unique_ptr<FILE, int (*)(FILE*)> file(std::tmpfile(), std::fclose);
  Progress progress({.rows = 120, .rows_per_step = 10, .epochs = 2}, 0, file.get());
  for (int step = 0; step < 12; step++) progress.step(step, step < 10 ? 0.5 : 0.25, 10, 0.1 * (step + 1));
  progress.line("epoch=1 validation_accuracy=0.8");
  EXPECT_EQ(text_of(file.get()),
            "epoch=1 step=10/24 loss=0.5000 samples_per_second=100.0\n"
            "epoch=1 step=12/24 loss=0.2500 samples_per_second=100.0\n"
            "epoch=1 validation_accuracy=0.8\n");
}

}  // namespace
}  // namespace textmill::train
