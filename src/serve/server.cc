#include "serve/server.h"

#include <malloc.h>

#include <condition_variable>
#include <mutex>

#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/threads.h"
#include "base/version.h"
#include "http/server.h"
#include "nn/kernel/cpu_features.h"
#include "serve/service.h"
#include "tasks/encoder.h"
#include "tasks/labels.h"

namespace textmill::serve {
namespace {

/// One log line and the metrics of an answered request.
void account(const http::Router& router, const http::Finished& done) {
  base::metrics()
      .counter("textmill_requests_total", "Answered requests.",
               {{"path", router.route_of(done.request.path())}, {"status", std::to_string(done.status)}})
      .add();
  base::metrics()
      .histogram("textmill_request_seconds", "From a request's head to its answer's last byte.",
                 base::latency_bounds())
      .observe(done.seconds);
  base::LogRequest logged(done.request.id);
  base::log(base::Level::info, done.complete ? "request" : "client_left",
            {{"method", done.request.method},
             {"path", done.request.path()},
             {"status", done.status},
             {"seconds", done.seconds},
             {"received", done.body_received},
             {"sent", done.body_sent},
             {"peer", done.request.peer}});
}

using format::Json;

/// What /info says, in text-embeddings-inference's members.
std::string info_of(const tasks::Encoder& encoder, const ServeOptions& options, const std::string& id) {
  Json type;
  if (encoder.embeds()) {
    type.set("embedding", Json::object({{"pooling", tasks::name(*encoder.modules().pooling)}}));
  } else {
    type.set("classifier", tasks::label_maps(encoder.folder().labels()));
  }
  return to_text(Json::object({{"model_id", id},
                               {"model_sha", nullptr},
                               {"model_dtype", tasks::name(encoder.format())},
                               {"model_type", type},
                               {"max_concurrent_requests", options.max_queue},
                               {"max_input_length", encoder.max_length().tokens},
                               {"max_batch_tokens", options.max_batch_tokens},
                               {"max_batch_requests", nullptr},
                               {"max_client_batch_size", options.max_queue},
                               {"auto_truncate", true},
                               {"tokenization_workers", encoder.threads()},
                               {"version", base::version()},
                               {"sha", nullptr},
                               {"docker_label", nullptr}}));
}

Model model_of(tasks::Encoder& encoder, const ServeOptions& options) {
  std::string id = base::name_of(options.model);
  return {
      .encode = [&](std::string_view text, std::optional<std::string_view> pair,
                    const tasks::Truncation& truncation) { return encoder.encode(text, pair, truncation); },
      .unpad =
          [&](std::span<const int64_t> ids, std::span<const int64_t> mask, std::span<const int64_t> types) {
            return encoder.unpad({ids, mask, types});
          },
      .scores = encoder.folder().score_function(),
      .labels = encoder.embeds() ? std::vector<std::string>() : encoder.folder().labels(),
      .width = encoder.width(),
      .prompts = encoder.modules().prompts,
      .default_prompt = encoder.modules().default_prompt,
      .id = id,
      .info = info_of(encoder, options, id)};
}

/// malloc keeps what threads have freed, each in an arena of its own: after many requests at once more than the plan of what is
/// resident allows for. Large blocks and what lies free at an arena's end go back to the system.
void give_back_what_is_freed() {
  constexpr int kLargest = 256 << 10;
  ::mallopt(M_MMAP_THRESHOLD, kLargest);
  ::mallopt(M_TRIM_THRESHOLD, kLargest);
}

}  // namespace

int serve(const ServeOptions& options, const base::StopSignals& signals) {
  give_back_what_is_freed();
  Service service(options.max_body);
  const http::Router& router = service.router();
  http::Server server({.host = options.host,
                       .port = options.port,
                       .crowded_status = 429,
                       .max_body = options.max_body,
                       .finished = [&](const http::Finished& done) { account(router, done); }},
                      router.dispatch());
  tasks::Encoder encoder(options.model, {options.engine, options.max_length, options.keep_packed});
  Model model = model_of(encoder, options);
  Batcher batcher([&](std::span<const tasks::PackedItem* const> items,
                      std::vector<float>& outputs) { encoder.run(items, outputs); },
                  model.width, {options.max_batch_tokens, options.max_queue});
  service.open(model, batcher);
  base::log(base::Level::info, "serving",
            {{"model", options.model.string()},
             {"host", options.host},
             {"port", server.port()},
             {"task", encoder.embeds() ? "embedding" : "text-classification"},
             {"labels", model.labels.size()},
             {"precision", tasks::name(encoder.format())},
             {"threads", encoder.threads()},
             {"cpu", nn::kernel::name(nn::kernel::choose_path())},
             {"max_length", encoder.max_length().tokens},
             {"max_length_from", encoder.max_length().source}});
  signals.wait();
  service.drain();
  base::log(base::Level::info, "draining",
            {{"connections", server.connections()}, {"queued", batcher.queued()}});
  auto refusing = base::start_thread("drain", [&](std::stop_token stop) {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any never;
    never.wait_for(lock, stop, options.drain - options.last_batches, [] { return false; });
    if (!stop.stop_requested()) batcher.refuse_waiting();
  });
  bool finished = server.drain(options.drain);
  base::log(base::Level::info, "stopped", {{"all_finished", finished}});
  return 0;
}

}  // namespace textmill::serve
