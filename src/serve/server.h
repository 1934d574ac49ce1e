#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "base/files.h"
#include "base/signals.h"
#include "tasks/engine.h"

namespace textmill::serve {

struct ServeOptions {
  base::Path model;
  std::string host = "127.0.0.1";
  uint16_t port = 8080;
  tasks::EngineOptions engine;
  std::optional<int> max_length;                  // tokens of a sequence
  bool keep_packed = true;                        // tasks::EncoderOptions
  int64_t max_batch_tokens = 4096;                // of sequences that run together
  size_t max_queue = 512;                         // sequences that wait
  uint64_t max_body = 6 << 20;                    // bytes of a request, SageMaker's limit for invocations
  std::chrono::milliseconds drain{25'000};        // from the signal to the end
  std::chrono::milliseconds last_batches{5'000};  // the end of that: what waits still is refused with 503
};

/// `textmill serve`: answers until the signal, then finishes what is in flight. Returns the exit status. Throws what
/// is wrong with the model or the address.
int serve(const ServeOptions& options, const base::StopSignals& signals);

}  // namespace textmill::serve
