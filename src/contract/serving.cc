#include "contract/serving.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "base/error.h"

namespace textmill::contract {
namespace {

constexpr const char* kPort = "SAGEMAKER_BIND_TO_PORT";
constexpr const char* kPayload = "SAGEMAKER_MAX_PAYLOAD_IN_MB";
constexpr const char* kLogLevel = "SAGEMAKER_CONTAINER_LOG_LEVEL";

/// The variable's value; an empty one counts as not set.
std::optional<std::string_view> variable(const char* name) {
  const char* value = std::getenv(name);
  return value && *value ? std::optional<std::string_view>(value) : std::nullopt;
}

int64_t integer(const char* name, int64_t absent, int64_t min, int64_t max) {
  auto text = variable(name);
  if (!text) return absent;
  int64_t value = 0;
  auto [end, code] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (code == std::errc() && end == text->data() + text->size() && value >= min && value <= max) return value;
  throw base::Error(base::Kind::invalid,
                    fmt::format("{}: expected an integer from {} to {}, got \"{}\"", name, min, max, *text));
}

}  // namespace

ServingEnvironment read_serving_environment() {
  constexpr int64_t kMaxMegabytes = 100;  // a batch transform's own bound
  ServingEnvironment out;
  out.port = static_cast<uint16_t>(integer(kPort, out.port, 1, 65535));
  if (variable(kPayload)) out.max_payload_bytes = integer(kPayload, 0, 0, kMaxMegabytes) << 20;
  int64_t python_level = integer(kLogLevel, 20, 0, 50);
  out.log_level = static_cast<base::Level>(std::clamp<int64_t>(python_level / 10 - 1, 0, 3));
  return out;
}

}  // namespace textmill::contract
