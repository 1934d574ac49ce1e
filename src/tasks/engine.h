#pragma once

#include <optional>
#include <string>

#include "nn/naive.h"
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

/// What runs plans.
using Engine = nn::Naive<float>;

}  // namespace textmill::tasks
