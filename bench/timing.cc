// How near nn::Timing comes: a model's passes predicted and measured, for shapes that were not measured for it.
//
//   bench_timing MODEL [THREADS]        prints JSON lines: {"precision", "shape", "predicted_ms", "measured_ms"}

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "nn/timing.h"
#include "tasks/engine.h"
#include "tasks/footprint.h"
#include "tasks/inference.h"
#include "tasks/model_folder.h"

using namespace textmill;

namespace {

using Lengths = std::vector<int32_t>;
const std::vector<std::pair<const char*, Lengths>> kShapes{
    {"1x24", {24}},         {"1x100", {100}},         {"1x200", {200}},
    {"3x40", {40, 40, 40}}, {"5x90", Lengths(5, 90)}, {"7 of 11 to 131", {11, 31, 51, 71, 91, 111, 131}}};

double measured(tasks::Inference& inference, const Lengths& lengths) {
  std::vector<double> times;
  for (int i = 0; i < 8; i++) {
    tasks::PackedBatch batch;
    for (int32_t length : lengths) batch.add(std::vector<int32_t>(length, 5), std::vector<int32_t>(length));
    auto begin = std::chrono::steady_clock::now();
    inference.run(batch);
    times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  std::ranges::nth_element(times, times.begin() + 4);
  return times[4];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  tasks::ModelFolder folder(argv[1]);
  auto model = folder.load();
  nn::kernel::Pool pool(tasks::choose_threads({.threads = argc > 2 ? std::atoi(argv[2]) : 0}));
  for (nn::Format format : {nn::Format::f32, nn::Format::bf16}) {
    tasks::Inference inference(*model, format, pool);
    auto begin = std::chrono::steady_clock::now();
    nn::Timing timing(format, bool{folder.quantization()}, pool);
    double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    for (const auto& [shape, lengths] : kShapes) {
      double predicted =
          timing.seconds(inference.plan(), tasks::rows_of(inference.plan(), inference.inputs(), lengths));
      fmt::print(
          R"({{"precision": "{}", "shape": "{}", "predicted_ms": {:.3f}, "measured_ms": {:.3f}, "calibration_s": {:.2f}}})"
          "\n",
          tasks::name(format), shape, predicted * 1e3, measured(inference, lengths) * 1e3, seconds);
    }
  }
}
