#include "tasks/engine.h"

#include <thread>

#include "nn/kernel/cpu_features.h"

namespace textmill::tasks {

nn::Format choose_format(const EngineOptions& options) {
  if (options.format) return *options.format;
  return nn::kernel::choose_path() == nn::kernel::Path::avx512_bf16 ? nn::Format::bf16 : nn::Format::f32;
}

int choose_threads(const EngineOptions& options) {
  if (options.threads > 0) return options.threads;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

nn::PlanOptions plan_options(nn::Format format, nn::Backward backward) {
  return {.backward = backward,
          .fuse_head = false,
          .save_slope = backward != nn::Backward::none,
          .format = format,
          .patterns = nn::cpu_patterns()};
}

const char* name(nn::Format format) { return format == nn::Format::bf16 ? "bf16" : "f32"; }

}  // namespace textmill::tasks
