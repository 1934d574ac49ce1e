#include "serve/server.h"

#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "http/server.h"
#include "serve/service.h"
#include "tasks/classifier.h"

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

Model model_of(tasks::Classifier& classifier) {
  return {
      .encode = [&](std::string_view text, std::optional<std::string_view> pair,
                    std::optional<int> max_length) { return classifier.encode(text, pair, max_length); },
      .unpad =
          [&](std::span<const int64_t> ids, std::span<const int64_t> mask, std::span<const int64_t> types) {
            return classifier.unpad({ids, mask, types});
          },
      .scores = classifier.score_function(),
      .labels = classifier.labels()};
}

}  // namespace

int serve(const ServeOptions& options, const base::StopSignals& signals) {
  Service service(options.max_body);
  const http::Router& router = service.router();
  http::Server server({.host = options.host,
                       .port = options.port,
                       .max_body = options.max_body,
                       .finished = [&](const http::Finished& done) { account(router, done); }},
                      router.dispatch());
  tasks::Classifier classifier(options.model, {options.engine, options.max_length});
  Model model = model_of(classifier);
  Batcher batcher([&](std::span<const tasks::PackedItem* const> items,
                      std::vector<float>& logits) { classifier.run(items, logits); },
                  static_cast<int>(model.labels.size()), {options.max_batch_tokens, options.max_queue});
  service.open(model, batcher);
  base::log(base::Level::info, "serving",
            {{"model", options.model.string()},
             {"host", options.host},
             {"port", server.port()},
             {"labels", model.labels.size()},
             {"precision", tasks::name(classifier.format())},
             {"threads", classifier.threads()},
             {"max_length", classifier.max_length().tokens},
             {"max_length_from", classifier.max_length().source}});
  signals.wait();
  service.drain();
  base::log(base::Level::info, "draining",
            {{"connections", server.connections()}, {"queued", batcher.queued()}});
  bool finished = server.drain(options.drain);
  base::log(base::Level::info, "stopped", {{"all_finished", finished}});
  return 0;
}

}  // namespace textmill::serve
