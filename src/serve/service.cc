#include "serve/service.h"

#include "base/error.h"
#include "base/log.h"
#include "base/metrics.h"

namespace textmill::serve {
namespace {

http::Response json(std::string body, const char* type = "application/json") {
  return {200, {{"Content-Type", type}}, std::move(body)};
}

http::Response refuse(int status, const base::Error& error) {
  base::log(base::Level::warning, "refused", {{"status", status}, {"error", error.what()}});
  http::Response response = http::error_response(status, error);
  if (status == 429 || status == 503) response.headers.set("Retry-After", "1");
  return response;
}

/// What the answer waits for, and how it will look.
struct Pending {
  std::shared_ptr<Ticket> ticket;
  AnswerForm form;
  const Model& model;
  std::string request_id;

  http::Response answer() const {
    if (ticket->left.stop_requested())
      return {499, {}, ""};  // nginx's word for it, for the log: nobody reads this
    base::LogRequest logged(request_id);
    try {
      return json(write_answer(form, ticket->logits(), model), answer_type(form));
    } catch (const base::Error& error) { return refuse(424, error); } catch (const std::exception& error) {
      return refuse(424, base::Error(base::Kind::internal, error.what()));
    }
  }
};

}  // namespace

Service::Service(uint64_t max_body)
    : router_({{"GET", "/ping", [this](http::Request& r) { return ping(r); }, {}, false},
               {"POST", "/invocations", [this](http::Request& r) { return invoke(r); }, {.limit = max_body}},
               {"GET", "/metrics",
                [](http::Request&) { return json(base::metrics().text(), "text/plain; version=0.0.4"); }}}) {}

void Service::open(const Model& model, Batcher& batcher) {
  model_ = &model;
  batcher_ = &batcher;
  open_ = true;
}

http::Response Service::ping(http::Request&) const {
  if (!open_)
    return http::error_response(503,
                                base::Error(base::Kind::unavailable, "no model: loading, or shutting down"));
  return json("{\"status\":\"healthy\"}");
}

http::Response Service::invoke(http::Request& request) const {
  base::LogRequest logged(request.id);
  int failing = 503;
  try {
    if (!open_) throw base::Error(base::Kind::unavailable, "no model: loading, or shutting down");
    InvocationRequest wanted{request.headers.get("content-type"), request.headers.get("accept"),
                             request.body.text(), batcher_->capacity()};
    Invocation invocation = read_invocation(wanted, *model_, failing);
    auto ticket = std::make_shared<Ticket>(std::move(invocation.items), request.stop);
    failing = 429;
    batcher_->submit(ticket);
    auto pending = std::make_shared<Pending>(Pending{ticket, invocation.form, *model_, request.id});
    return {200, {}, http::Later{[pending](http::Response& answer, const http::Waker& waker) {
              if (!pending->ticket->done_or(waker)) return false;
              answer = pending->answer();
              return true;
            }}};
  } catch (const base::Error& error) {
    return refuse(error.kind() == base::Kind::unavailable ? 503 : failing, error);
  }
}

}  // namespace textmill::serve
