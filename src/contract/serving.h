#pragma once

#include <cstdint>
#include <optional>

#include "base/log.h"

namespace textmill::contract {

/// What a serving container is told by its environment: it answers GET /ping and POST /invocations for the model in
/// Layout::model().
struct ServingEnvironment {
  uint16_t port = 8080;                       // SAGEMAKER_BIND_TO_PORT
  std::optional<int64_t> max_payload_bytes;   // SAGEMAKER_MAX_PAYLOAD_IN_MB
  base::Level log_level = base::Level::info;  // SAGEMAKER_CONTAINER_LOG_LEVEL: Python's 10, 20, 30, 40
};

/// Throws invalid naming the variable, its value and what was expected.
ServingEnvironment read_serving_environment();

}  // namespace textmill::contract
