#include "serve/service.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"
#include "format/json.h"

namespace textmill::serve {
namespace {

using format::Json;

http::Response json(std::string body, const char* type = "application/json") {
  return {200, {{"Content-Type", type}}, std::move(body)};
}

constexpr std::string_view kOpenAi = "/v1/embeddings", kOpenAiShort = "/embeddings";

http::Response refuse(const std::string& path, int status, const base::Error& error) {
  const bool empty = dynamic_cast<const NoInputs*>(&error) != nullptr;
  if (empty) status = 400;
  const std::string_view type = empty ? "Empty" : http::error_type(status);
  base::log(base::Level::warning, "refused", {{"status", status}, {"error", error.what()}});
  http::Response response = http::error_response(status, error, type);
  if (path == kOpenAi || path == kOpenAiShort) {
    response.body =
        to_text(Json::object({{"message", error.what()}, {"code", status}, {"type", std::string(type)}}));
  }
  if (status == 429 || status == 503) response.headers.set("Retry-After", "1");
  return response;
}

/// What the answer waits for, and what it says about its cost.
struct Pending {
  std::shared_ptr<Ticket> ticket;
  std::function<Answer(std::span<const float>)> write;
  std::string request_id, path;
  size_t characters;
  Ticket::Clock::time_point received, read;

  http::Response answer() const {
    if (ticket->left.stop_requested())
      return {499, {}, ""};  // nginx's word for it, for the log: nobody reads this
    base::LogRequest logged(request_id);
    try {
      Answer written = write(ticket->outputs());
      http::Response response = json(std::move(written.body), written.type);
      add_costs(response.headers);
      return response;
    } catch (const base::Error& error) {
      return refuse(path, error.kind() == base::Kind::unavailable ? 503 : 424, error);
    } catch (const std::exception& error) {
      return refuse(path, 424, base::Error(base::Kind::internal, error.what()));
    }
  }

  void add_costs(http::Headers& headers) const {
    size_t tokens = 0;
    for (const auto& item : ticket->items) tokens += item.input_ids.size();
    auto add = [&](const char* name, Ticket::Clock::duration time) {
      headers.add(name, std::to_string(duration_cast<std::chrono::milliseconds>(time).count()));
    };
    headers.add("x-compute-type", "cpu");
    headers.add("x-compute-characters", std::to_string(characters));
    headers.add("x-compute-tokens", std::to_string(tokens));
    auto total = Ticket::Clock::now() - received;
    add("x-compute-time", total);
    add("x-total-time", total);
    add("x-tokenization-time", read - received);
    add("x-queue-time", ticket->started() - read);
    add("x-inference-time", ticket->finished() - ticket->started());
  }
};

}  // namespace

Service::Service(uint64_t max_body)
    : router_([&] {
        std::vector<http::Route> routes;
        auto post = [&](std::string_view path, Read* read) {
          routes.push_back({"POST",
                            std::string(path),
                            [this, read](http::Request& r) { return call(r, read); },
                            {.limit = max_body}});
        };
        post("/invocations", read_invocation);
        post("/", read_invocation);
        post("/predict", read_predict);
        post("/embed", read_embed);
        post(kOpenAi, read_openai_embeddings);
        post(kOpenAiShort, read_openai_embeddings);
        auto healthy = [](const Model&) { return "{\"status\":\"healthy\"}"; };
        auto info = [](const Model& model) { return model.info; };
        for (const char* path : {"/", "/ping", "/health"}) {
          routes.push_back(
              {"GET", path, [this, healthy](http::Request& r) { return get(r, healthy); }, {}, false});
        }
        routes.push_back(
            {"GET", "/info", [this, info](http::Request& r) { return get(r, info); }, {}, false});
        routes.push_back({"GET", "/metrics", [](http::Request&) {
                            return json(base::metrics().text(), "text/plain; version=0.0.4");
                          }});
        return routes;
      }()) {}

void Service::open(const Model& model, Batcher& batcher) {
  model_ = &model;
  batcher_ = &batcher;
  open_ = true;
}

const Model& Service::require_model() const {
  if (!open_) throw base::Error(base::Kind::unavailable, "no model: loading, or shutting down");
  return *model_;
}

http::Response Service::get(http::Request& request,
                            const std::function<std::string(const Model&)>& answer) const {
  base::LogRequest logged(request.id);
  try {
    return json(answer(require_model()));
  } catch (const base::Error& error) { return refuse(std::string(request.path()), 503, error); }
}

http::Response Service::call(http::Request& request, Read* read) const {
  base::LogRequest logged(request.id);
  std::string path(request.path());
  int failing = 503;
  try {
    const Model& model = require_model();
    failing = 415;
    if (auto coding = request.headers.get("content-encoding");
        !coding.empty() && !http::same_name(coding, "identity"))
      throw base::Error(base::Kind::invalid,
                        fmt::format("Content-Encoding {}: the body is taken as it is only", coding));
    Call call = read({request.headers.get("content-type"), request.headers.get("accept"), request.body.text(),
                      batcher_->capacity()},
                     model, failing);
    auto ticket = std::make_shared<Ticket>(std::move(call.items), request.stop);
    auto pending =
        std::make_shared<Pending>(Pending{ticket, std::move(call.answer), request.id, path, call.characters,
                                          request.received, Ticket::Clock::now()});
    failing = 429;
    batcher_->submit(ticket);
    return {200, {}, http::Later{[pending](http::Response& answer, const http::Waker& waker) {
              if (!pending->ticket->done_or(waker)) return false;
              answer = pending->answer();
              return true;
            }}};
  } catch (const base::Error& error) {
    return refuse(path, error.kind() == base::Kind::unavailable ? 503 : failing, error);
  }
}

}  // namespace textmill::serve
