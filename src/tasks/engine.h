#pragma once

#include <optional>
#include <string>

#include "nn/cpu.h"
#include "nn/plan.h"

namespace textmill::tasks {

struct EngineOptions {
  std::optional<nn::Format>
      format;       // of weights and activations; by default bf16 where the CPU has the dot product
  int threads = 0;  // 0: as many as this process may use
};

nn::Format choose_format(const EngineOptions& options);
int choose_threads(const EngineOptions& options);
/// "f32", "bf16".
const char* name(nn::Format format);

/// The longest sequence of a model, special tokens included, and who says so.
struct MaxLength {
  int tokens = 0;
  std::string source;
};

/// Logs what runs a model, most of it chosen: precision, threads, the CPU's path, the maximum length.
void log_engine(nn::Format format, int threads, const MaxLength& max_length);

/// What runs plans, and what it wants of them.
using Engine = nn::Cpu;
nn::PlanOptions plan_options(nn::Format format, nn::Backward backward = nn::Backward::none);

}  // namespace textmill::tasks
