#include <fmt/format.h>

#include "api/exchange.h"
#include "base/utf8.h"
#include "wire/codec.h"
#include "wire/event_stream.h"

namespace textmill::api {

namespace {

using http::Forward;
using http::Headers;

constexpr uint64_t kLargestBody = 6 << 20;
constexpr size_t kOriginalMessage = 64 << 10;  // bytes of a model's own error that are shown
constexpr auto kAnswerWithin = std::chrono::seconds(60);
constexpr auto kConnectWithin = std::chrono::milliseconds(250);
constexpr std::string_view kOwnHeaders = "x-amzn-sagemaker-";

/// What is left of the exchange when the replica answers: the handler has returned by then.
struct Invocation {
  wire::Call call;
  std::string endpoint, variant, log_group, path, request_id;
  records::Account account;
  fleet::Router& router;
  bool stream = false;
  Forward forward;
  std::vector<std::string> tried;  // replicas that could not be reached

  wire::Fault model_error(int status, std::string_view message) const;
  void head(Headers& headers, const std::string& type) const;
};

/// ModelError: the program behind the endpoint failed. `status`: its own, 0 where it gave none.
wire::Fault Invocation::model_error(int status, std::string_view message) const {
  std::string text = base::replace_invalid_utf8(message);
  std::string group_arn =
      fmt::format("arn:aws:logs:{}:{}:log-group:{}", account.region, account.id, log_group);
  return {
      "ModelError", 424,
      fmt::format(
          "Received {} error ({}) from primary with message \"{}\". See the log group {} in account {} for "
          "more information.",
          status / 100 == 4 ? "client" : "server", status, text, log_group, account.id),
      Value::object({{"OriginalStatusCode", status},
                     {"OriginalMessage", text},
                     {"LogStreamArn", std::move(group_arn)}})};
}

using Shared = std::shared_ptr<Invocation>;

http::Response fault_response(const Shared& inv, const wire::Fault& fault) {
  return wire::encode_fault(inv->call, fault, inv->path, inv->request_id);
}

/// Instead of what the program answered: its status and body, in a ModelError.
http::BodyFilter as_model_error(const Shared& inv, int original, int& status, Headers& headers) {
  http::Response empty = fault_response(inv, inv->model_error(original, ""));
  status = empty.status;
  headers = std::move(empty.headers);
  auto message = std::make_shared<std::string>();
  return {
      .piece =
          [message](std::string_view piece) {
            message->append(piece.substr(0, kOriginalMessage - std::min(kOriginalMessage, message->size())));
            return std::string();
          },
      .end =
          [=](bool) {
            return std::get<std::string>(fault_response(inv, inv->model_error(original, *message)).body);
          }};
}

/// A frame for each piece as it comes.
http::BodyFilter as_event_stream(const Shared& inv) {
  auto part = [](std::string_view piece) {
    return wire::encode_event({{":message-type", "event"},
                               {":event-type", "PayloadPart"},
                               {":content-type", "application/octet-stream"}},
                              piece);
  };
  auto end = [=](bool whole) -> std::string {
    if (whole) return {};
    Value error =
        Value::object({{"Message", fmt::format("The model of endpoint {} broke off its answer. See the log "
                                               "group {}.",
                                               inv->endpoint, inv->log_group)},
                       {"ErrorCode", "ModelInvocationFailed"}});
    return wire::encode_event({{":message-type", "exception"},
                               {":exception-type", "ModelStreamError"},
                               {":content-type", "application/json"}},
                              format::to_text(error));
  };
  return {.piece = part, .end = end};
}

std::optional<http::BodyFilter> edit(const Shared& inv, int& status, Headers& headers) {
  if (status / 100 != 2) return as_model_error(inv, status, status, headers);
  std::string type(headers.get("content-type", "application/octet-stream"));
  Headers out{{"x-amzn-RequestId", inv->request_id}, {"x-Amzn-Invoked-Production-Variant", inv->variant}};
  for (const auto& [name, value] : headers)
    if (http::same_name(std::string_view(name).substr(0, kOwnHeaders.size()), kOwnHeaders))
      out.add(name, value);
  out.set(inv->stream ? "X-Amzn-SageMaker-Content-Type" : "Content-Type", type);
  if (inv->stream) out.set("Content-Type", "application/vnd.amazon.eventstream");
  headers = std::move(out);
  status = 200;
  return inv->stream ? std::optional(as_event_stream(inv)) : std::nullopt;
}

http::Response send(const Shared& inv);

/// A replica that has not seen the request does not end it: another one may. Throws nothing: an io thread calls it.
http::Response otherwise(const Shared& inv, const base::Error& error) {
  if (error.kind() == base::Kind::cancelled)
    return fault_response(
        inv,
        inv->model_error(0,
                         "Your invocation timed out while waiting for a response from container primary. "
                         "Review the latency metrics for each container in Amazon CloudWatch, resolve the "
                         "issue, and try again."));
  if (error.kind() == base::Kind::not_found) {
    try {
      return send(inv);
    } catch (const base::Error& nobody) {
      return fault_response(inv, wire::fault_of(nobody, inv->call.service));
    }
  }
  return fault_response(inv,
                        inv->model_error(0, "The container closed the connection before it had answered."));
}

http::Response send(const Shared& inv) {
  auto lease = inv->router.choose(inv->endpoint, inv->variant, inv->tried);
  inv->variant = lease->variant();
  inv->tried.push_back(lease->replica().id);
  Forward forward = inv->forward;
  forward.port = lease->replica().port;
  forward.edit = [inv, lease](int& status, Headers& headers) {
    lease->replica().answered.fetch_add(1, std::memory_order_relaxed);
    return edit(inv, status, headers);
  };
  forward.otherwise = [inv](const base::Error& error) { return otherwise(inv, error); };
  forward.lease = std::move(lease);
  return {.body = std::move(forward)};
}

/// What the program gets to see of a request.
Headers passed_on(Exchange& ex, bool stream) {
  Headers out;
  for (const auto& [name, value] : ex.request.headers)
    if (http::same_name(std::string_view(name).substr(0, kOwnHeaders.size()), kOwnHeaders) ||
        http::same_name(name, "content-type"))
      out.add(name, value);
  out.set("Accept", stream ? ex.text("Accept", "*/*") : std::string(ex.request.headers.get("accept", "*/*")));
  return out;
}

Value invoke(Exchange& ex, bool stream) {
  for (const char* unserved :
       {"TargetModel", "TargetContainerHostname", "InferenceComponentName", "SessionId"})
    if (ex.find(unserved))
      throw base::Error(
          base::Kind::invalid,
          fmt::format("{}: this endpoint hosts one model per variant, without sessions.", unserved));
  const auto& account = ex.platform.account();
  std::string endpoint = ex.text("EndpointName");
  auto inv = std::make_shared<Invocation>(Invocation{.call = ex.call,
                                                     .endpoint = endpoint,
                                                     .variant = ex.text("TargetVariant"),
                                                     .log_group = "/aws/sagemaker/Endpoints/" + endpoint,
                                                     .path = std::string(ex.request.path()),
                                                     .request_id = ex.request.id,
                                                     .account = account,
                                                     .router = ex.platform.router,
                                                     .stream = stream,
                                                     .forward = {.host = "127.0.0.1",
                                                                 .method = "POST",
                                                                 .target = "/invocations",
                                                                 .headers = passed_on(ex, stream),
                                                                 .connect_timeout = kConnectWithin,
                                                                 .timeout = kAnswerWithin,
                                                                 .whole_within = !stream}});
  try {
    ex.payload = std::move(send(inv).body);
  } catch (const base::Error& error) {
    if (error.kind() != base::Kind::not_found) throw;
    throw wire::Fault("ValidationError", 400,
                      fmt::format("Endpoint {} of account {} not found.", endpoint, account.id));
  }
  return {};
}

Value invoke_endpoint(Exchange& ex) { return invoke(ex, false); }
Value invoke_endpoint_with_response_stream(Exchange& ex) { return invoke(ex, true); }

http::BodyRules body_rules(const http::Request&, const wire::Call&) {
  return {.limit = kLargestBody, .digests = {http::Digest::sha256}};
}

constexpr Operation kOperations[] = {
    {"InvokeEndpoint", Role::read, invoke_endpoint},
    {"InvokeEndpointWithResponseStream", Role::read, invoke_endpoint_with_response_stream},
};

}  // namespace

constexpr Family kRuntime{"sagemaker-runtime", kOperations, body_rules};

}  // namespace textmill::api
