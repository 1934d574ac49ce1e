#pragma once

#include <functional>
#include <optional>
#include <stop_token>
#include <vector>

#include "cli/command.h"
#include "tasks/engine.h"

namespace textmill::cli {

// What evaluate, predict and serve take about how a model is run.

/// `options`, and --precision, --threads, --max-length.
std::vector<Option> with_engine_options(std::vector<Option> options);

tasks::EngineOptions engine_options(const Values& values);
std::optional<int> max_length_option(const Values& values);

/// A write to nobody fails instead of ending the process: for commands that start no program, which would inherit it.
void ignore_broken_pipes();

/// Runs `work` to its end, or to the signal: then what it holds is given back, such as an unpacked archive. So it is
/// when nobody reads stdout any more. Returns the exit status.
int interruptible(const std::function<int(std::stop_token)>& work);

}  // namespace textmill::cli
