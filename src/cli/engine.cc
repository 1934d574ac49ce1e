#include "cli/engine.h"

#include <csignal>

#include "base/error.h"
#include "base/signals.h"

namespace textmill::cli {

std::vector<Option> with_engine_options(std::vector<Option> options) {
  const Option engine[] = {
      {"precision", "bf16|f32", "of products and activations (bf16 where the CPU has its dot product)"},
      {"threads", "N", "threads of the engine; 0: all that this process may use (0)"},
      {"max-length", "N", "tokens of a sequence; more are cut off (what the model's files say)"}};
  options.insert(options.end(), std::begin(engine), std::end(engine));
  return options;
}

tasks::EngineOptions engine_options(const Values& values) {
  tasks::EngineOptions options;
  if (values.has("precision"))
    options.format = values.text("precision") == "f32" ? nn::Format::f32 : nn::Format::bf16;
  if (auto threads = values.integer("threads", 0, 1024)) options.threads = static_cast<int>(*threads);
  return options;
}

std::optional<int> max_length_option(const Values& values) {
  auto length = values.integer("max-length", 1, INT32_MAX);
  return length ? std::optional(static_cast<int>(*length)) : std::nullopt;
}

void ignore_broken_pipes() { std::signal(SIGPIPE, SIG_IGN); }

int interruptible(const std::function<int(std::stop_token)>& work) {
  ignore_broken_pipes();
  base::StopSignals signals;
  try {
    return work(signals.token());
  } catch (const base::Error& error) {
    if (error.kind() != base::Kind::cancelled) throw;
    return 128 + (signals.signal() ? signals.signal() : SIGPIPE);
  }
}

}  // namespace textmill::cli
