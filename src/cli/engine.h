#pragma once

#include <optional>
#include <vector>

#include "cli/command.h"
#include "tasks/engine.h"

namespace textmill::cli {

// What evaluate, predict and serve take about how a model is run.

/// `options`, and --precision, --threads, --max-length.
std::vector<Option> with_engine_options(std::vector<Option> options);

tasks::EngineOptions engine_options(const Values& values);
std::optional<int> max_length_option(const Values& values);

}  // namespace textmill::cli
