#include "api/api.h"

#include <fmt/format.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/metrics.h"
#include "wire/codec.h"
#include "wire/document.h"

namespace textmill::api {

using http::Request;
using http::Response;

namespace {

constexpr uint64_t kLargestBody =
    (uint64_t{5} << 30) + (64 << 20);                 // an object of S3, with the framing of its chunks
constexpr uint64_t kVerifyFirst = 1 << 20;            // bodies from here on
constexpr uint64_t kMostImages = uint64_t{50} << 30;  // of containers, unpacked
constexpr std::string_view kOwn = "/_textmill/";
constexpr int kNotServed = 501;  // the client's wish, not our failure

uint64_t content_length(const Request& head) {
  auto text = head.headers.get("content-length", "0");
  return std::strtoull(std::string(text).c_str(), nullptr, 10);
}

http::BodyRules document_rules(const Request&, const wire::Call&) {
  return {.limit = wire::kMaxDocument, .digests = {http::Digest::sha256}};
}

wire::Fault not_allowed(const Caller& caller, const wire::Call& call) {
  std::string message = fmt::format("User: {} is not authorized to perform: {}:{}", caller.arn,
                                    call.service->signing_name.view(), call.name);
  return wire::fault_of(base::Error(base::Kind::denied, message), call.service);
}

base::Counter& outcome(std::string word) {
  return base::metrics().counter("textmill_requests_total", "Answered requests.",
                                 {{"outcome", std::move(word)}});
}

}  // namespace

struct Api::Served {
  const Operation* operation;
  base::Histogram* seconds;
};

Api::Api(store::Store& store, const records::Account& account)
    : keys_(store, account),
      tokens_(store.secret("tokens")),
      resources_(account, tokens_),
      requirements_(store),
      containers_(store, kMostImages),
      remover_(store.folder() / "gone"),
      endpoints_(store, resources_, router_, requirements_, containers_, remover_, news_),
      jobs_(store, resources_, requirements_, containers_, remover_, news_),
      platform_{store,       keys_,      tokens_, resources_, router_,     requirements_,
                containers_, endpoints_, jobs_,   news_,      completions_},
      handler_([this](Request& request) { return answer(request); }),
      own_handler_([this](Request& request) { return own_page(request); }),
      good_(outcome("ok")),
      refused_(outcome("refused")),
      failed_(outcome("failed")) {
  for (const Family* family : families()) {
    const wire::Service* service = wire::find_service(family->service);
    TEXTMILL_CHECK(service);
    if (family->body) bodies_[service] = family;
    for (const Operation& operation : family->operations) {
      const wire::Operation* model = service->find(operation.name);
      TEXTMILL_CHECK(model);
      auto& seconds = base::metrics().histogram(
          "textmill_request_seconds", "Time in handlers.", base::latency_bounds(),
          {{"service", std::string(family->service)}, {"operation", std::string(operation.name)}});
      TEXTMILL_CHECK(served_.try_emplace(model, Served{&operation, &seconds}).second);
    }
  }
}

Api::~Api() = default;

void Api::start(fleet::JobOptions options) {
  static constexpr std::chrono::seconds kForEver =
      std::chrono::years(10);  // they end with the attempt, however long that takes
  options.server.credentials = [this](const Value& caller, const std::string& attempt) {
    Caller acts{.key = text_in(caller, "key"),
                .name = text_in(caller, "name"),
                .role = static_cast<Role>(*caller.find("role")->integer()),
                .attempt = attempt};
    auto session = keys_.open_session(acts, "textmill-job", attempt, kForEver);
    return std::map<std::string, std::string>{{"AWS_ACCESS_KEY_ID", session.credentials.access_key},
                                              {"AWS_SECRET_ACCESS_KEY", session.credentials.secret},
                                              {"AWS_SESSION_TOKEN", session.credentials.token}};
  };
  requirements_.start(options.server.key);
  containers_.start(options.engine);
  endpoints_.start(options.server, options.hung);
  jobs_.start(std::move(options));
}

http::ServerOptions Api::options() {
  http::ServerOptions options;
  options.max_body = kLargestBody;
  options.max_header = 32 << 10;
  options.workers = 48;  // most of them wait for a sync
  options.spool.folder = platform_.store.staging();
  options.refuse = [this](const Request& request, int status, const base::Error& error) {
    return refuse(request, status, error);
  };
  options.finished = [this](const http::Finished& done) { finished(done); };
  return options;
}

http::Dispatch Api::dispatch() {
  return [this](const Request& head) { return decide(head); };
}

// On the io thread: where a body is large, its sender is known before it is read. What only the database knows is asked
// when the body is there.
std::variant<http::Accepted, Response> Api::decide(const Request& head) {
  if (head.path().starts_with(kOwn))
    return http::Accepted{.handler = &own_handler_, .body = document_rules(head, {})};
  wire::Claim claim = wire::read_claim(head);
  wire::Call call = wire::find_call(head, claim.scope.service);
  try {
    auto family = bodies_.find(call.service);
    auto rules = family != bodies_.end() && call.operation ? family->second->body(head, call)
                                                           : document_rules(head, call);
    if (claim.form == wire::Claim::Form::none && head.method == "POST" &&
        head.headers.get("content-type").starts_with("multipart/form-data"))
      throw wire::Fault("NotImplemented", kNotServed,
                        "Forms of browsers (POST Object) are not served: presign a PUT instead");
    bool large = content_length(head) >= kVerifyFirst || head.headers.find("transfer-encoding");
    if (large && wire::Verifier::payload(head, claim, call.protocol) != wire::Payload::body) {
      wire::Verified verified;
      authenticate(head, claim, call.protocol, verified, {}, Keys::Depth::memory);
    }
    return http::Accepted{.handler = &handler_, .body = std::move(rules)};
  } catch (const base::Error& error) {
    return wire::encode_fault(call, fault_of(error, call.service), head.path(), head.id);
  }
}

Keys::Known Api::authenticate(const Request& request, const wire::Claim& claim, wire::Protocol protocol,
                              wire::Verified& verified, std::string_view body_sha256, Keys::Depth depth) {
  auto known = keys_.find(claim, depth);
  verified = verifier_.verify(request, claim, protocol, known ? &known->key : nullptr, base::wall_now(),
                              body_sha256);
  TEXTMILL_CHECK(known);  // else verify throws
  return std::move(*known);
}

// Clients need not know where the data folder is.
wire::Fault Api::fault_of(const base::Error& error, const wire::Service* service) const {
  wire::Fault fault = wire::fault_of(error, service);
  std::string text = fault.what(), folder = platform_.store.folder().string();
  size_t at = text.find(folder);
  if (at == std::string::npos) return fault;
  for (; at != std::string::npos; at = text.find(folder, at)) text.replace(at, folder.size(), "DATA");
  return {fault.code(), fault.status(), text, fault.details()};
}

Response Api::answer(Request& request) {
  base::LogRequest log_request(request.id);
  wire::Call call;
  try {
    return serve(request, call);
  } catch (const base::Error& error) {
    wire::Fault fault = fault_of(error, call.service);
    bool ours =
        fault.status() >= 500 && fault.status() != kNotServed && fault.kind() != base::Kind::unavailable;
    if (ours)
      base::log(base::Level::error, "request_failed", {{"operation", request.note}, {"error", error.what()}});
    return wire::encode_fault(call, fault, request.path(), request.id);
  }
}

Response Api::serve(Request& request, wire::Call& call) {
  wire::Claim claim = wire::read_claim(request);
  call = wire::find_call(request, claim.scope.service);
  if (claim.form == wire::Claim::Form::none) {  // as clients send what AWS serves to everybody
    wire::find_action(call, request);
    if (call.operation) served(call);
  }
  std::string sum;
  auto payload = wire::Verifier::payload(request, claim, call.protocol);
  if (payload == wire::Payload::body || payload == wire::Payload::hashed)
    sum = base::hex(request.body.digest(http::Digest::sha256));
  wire::Verified verified;
  Keys::Known known = authenticate(request, claim, call.protocol, verified, sum, Keys::Depth::whole);
  wire::Verifier::check_body(verified, call.protocol, sum);
  wire::take_headers_from_query(request, claim);

  wire::find_action(call, request);
  request.note =
      fmt::format("{}:{} {}", call.service ? call.service->id.view() : "", call.name, known.caller.name);
  wire::require_operation(call);
  const Served& served = this->served(call);
  if (known.caller.role < served.operation->least) throw not_allowed(known.caller, call);

  Value input = wire::decode(call, request);
  validator_.check(*call.operation, input);
  Exchange exchange{platform_, call, request, known.caller, verified, input};
  auto begin = base::steady_now();
  Value output = served.operation->handle(exchange);
  served.seconds->observe(base::seconds_since(begin));

  Response response = wire::encode(call, output, request.id);
  if (exchange.payload) response.body = std::move(*exchange.payload);
  if (exchange.status) response.status = *exchange.status;
  for (const auto& [name, value] : exchange.headers) response.headers.set(name, value);
  return response;
}

const Api::Served& Api::served(const wire::Call& call) const {
  auto found = served_.find(call.operation);
  if (found == served_.end()) throw wire::unsupported(*call.operation);
  return found->second;
}

// What the server itself refuses: broken messages, bodies that are too large, queues that are full.
Response Api::refuse(const Request& request, int status, const base::Error& error) const {
  if (request.path().starts_with(kOwn)) return http::error_response(status, error);
  wire::Call call = wire::find_call(request, wire::read_claim(request).scope.service);
  bool s3 = !call.service || call.service->id.view() == "s3";
  auto fault =
      status != 413 ? fault_of(error, call.service)
      : s3 ? wire::Fault("EntityTooLarge", 400, "Your proposed upload exceeds the maximum allowed size")
           : wire::Fault(wire::fault_of(base::Error(base::Kind::invalid, ""), call.service).code(), 413,
                         error.what());
  return wire::encode_fault(call, fault, request.path(), request.id);
}

void Api::finished(const http::Finished& done) const {
  const Request& request = done.request;
  (done.status < 400 ? good_ : done.status < 500 ? refused_ : failed_).add();
  if (!base::log_enabled(base::Level::info)) return;
  base::LogRequest log_request(request.id);
  std::string_view note = request.note;
  size_t space = std::min(note.find(' '), note.size());
  base::log(base::Level::info, "request",
            {{"operation", note.empty() ? fmt::format("{} {}", request.method, request.path())
                                        : std::string(note.substr(0, space))},
             {"status", done.status},
             {"key", note.substr(std::min(space + 1, note.size()))},
             {"peer", request.peer},
             {"seconds", done.seconds},
             {"bytes_in", done.body_received},
             {"bytes_out", done.body_sent},
             {"complete", done.complete}});
}

}  // namespace textmill::api
