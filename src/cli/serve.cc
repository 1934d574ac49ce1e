#include "serve/server.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/engine.h"
#include "contract/layout.h"
#include "contract/serving.h"

namespace textmill::cli {
namespace {

/// "127.0.0.1:8080", "[::1]:8080"
void set_address(serve::ServeOptions& options, const Given& given) {
  size_t colon = given.text.rfind(':');
  std::string port = colon == std::string::npos ? "" : given.text.substr(colon + 1);
  bool digits =
      !port.empty() && port.size() <= 5 && port.find_first_not_of("0123456789") == std::string::npos;
  if (!digits || std::stoi(port) > 65535 || colon == 0) {
    throw base::Error(base::Kind::invalid, fmt::format("{} {}: expected ADDRESS:PORT, such as 127.0.0.1:8080",
                                                       given.where, given.text));
  }
  options.host = given.text.substr(0, colon);
  if (options.host.starts_with('[') && options.host.ends_with(']'))
    options.host = options.host.substr(1, options.host.size() - 2);
  options.port = static_cast<uint16_t>(std::stoi(port));
}

serve::ServeOptions serve_options(const Values& values) {
  serve::ServeOptions options{.engine = engine_options(values), .max_length = max_length_option(values)};
  if (auto n = values.integer("max-batch-tokens", 1)) options.max_batch_tokens = *n;
  if (auto n = values.integer("max-queue", 1)) options.max_queue = static_cast<size_t>(*n);
  if (auto n = values.integer("max-body", 1)) options.max_body = static_cast<uint64_t>(*n);
  return options;
}

int serve_from_shell(const Values& values) {
  serve::ServeOptions options = serve_options(values);
  options.model = values.text("MODEL");
  options.keep_packed = !values.on("no-packed-file");
  if (const Given* listen = values.find("listen")) set_address(options, *listen);
  ignore_broken_pipes();
  base::StopSignals signals;
  return serve::serve(options, signals);
}

/// The serving container: the model in /opt/ml/model, on every address, as the hosting side connects from outside.
int serve_in_container(const std::function<Values()>& surroundings) {
  const Values values = surroundings();
  contract::ServingEnvironment environment = contract::read_serving_environment();
  if (!values.has("log-level") && !values.has("log-format")) base::set_log({.level = environment.log_level});
  serve::ServeOptions options = serve_options(values);
  options.keep_packed = false;  // a replica's folder is its own, and gone with it
  options.model = contract::Layout::from_environment().model();
  options.host = "0.0.0.0";
  options.port = environment.port;
  if (auto bytes = environment.max_payload_bytes)  // 0: SageMaker's word for no limit
    options.max_body = *bytes ? static_cast<uint64_t>(*bytes) : INT64_MAX;
  ignore_broken_pipes();
  base::StopSignals signals;
  return serve::serve(options, signals);
}

}  // namespace

Command serve_command() {
  return {
      "serve",
      "answer over HTTP; without arguments, as a container under /opt/ml",
      {{"MODEL", "a Hugging Face folder, or a model.tar.gz of one"}},
      with_engine_options(
          {{"listen", "ADDRESS:PORT", "where to listen (127.0.0.1:8080)"},
           {"max-batch-tokens", "N", "tokens of sequences that run together (4096)"},
           {"max-queue", "N", "sequences that may wait; beyond it requests are refused with 429 (512)"},
           {"no-packed-file", "",
            "do not keep packed weights beside the model (textmill-packed.*.bin), which the next start maps"},
           {"max-body", "BYTES", "of a request; beyond it 413 (6291456)"}}),
      serve_from_shell,
      serve_in_container};
}

}  // namespace textmill::cli
