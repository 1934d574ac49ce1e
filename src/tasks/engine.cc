#include "tasks/engine.h"

#include "base/log.h"
#include "base/machine.h"
#include "nn/kernel/cpu_features.h"

namespace textmill::tasks {

nn::Format choose_format(const EngineOptions& options) {
  if (options.format) return *options.format;
  return nn::kernel::choose_path() == nn::kernel::Path::avx512_bf16 ? nn::Format::bf16 : nn::Format::f32;
}

int choose_threads(const EngineOptions& options) {
  if (options.threads > 0) return options.threads;
  return base::usable_cpus();
}

nn::PlanOptions plan_options(nn::Format format, nn::Backward backward) {
  return {.backward = backward,
          .fuse_head = false,
          .save_slope = backward != nn::Backward::none,
          .format = format,
          .patterns = nn::cpu_patterns()};
}

void log_engine(nn::Format format, int threads, const MaxLength& max_length) {
  base::log(base::Level::info, "engine",
            {{"precision", name(format)},
             {"threads", threads},
             {"cpu", nn::kernel::name(nn::kernel::choose_path())},
             {"max_length", max_length.tokens},
             {"max_length_from", max_length.source}});
}

const char* name(nn::Format format) { return format == nn::Format::bf16 ? "bf16" : "f32"; }

}  // namespace textmill::tasks
