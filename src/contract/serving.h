#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/log.h"

namespace textmill::contract {

/// What a serving container is told by its environment: it answers GET /ping and POST /invocations for the model in
/// Layout::model().
struct ServingEnvironment {
  uint16_t port = 8080;                       // SAGEMAKER_BIND_TO_PORT
  bool batch = false;                         // SAGEMAKER_BATCH: a batch transform job
  std::optional<int64_t> max_payload_bytes;   // SAGEMAKER_MAX_PAYLOAD_IN_MB
  int max_concurrent_transforms = 0;          // SAGEMAKER_MAX_CONCURRENT_TRANSFORMS; 0: as we like
  std::string default_accept;                 // SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT; empty: as we like
  base::Level log_level = base::Level::info;  // SAGEMAKER_CONTAINER_LOG_LEVEL: Python's 10, 20, 30, 40
};

/// Throws invalid naming the variable, its value and what was expected.
ServingEnvironment read_serving_environment();

/// The variables that say so: those that differ from the defaults.
std::map<std::string, std::string> serving_variables(const ServingEnvironment& environment);

}  // namespace textmill::contract
