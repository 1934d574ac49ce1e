#include "http/detail/service.h"

#include "base/log.h"

namespace textmill::http::detail {
namespace {

ServerOptions with_folder(ServerOptions options) {
  if (options.spool.folder.empty()) options.spool.folder = base::Path(std::filesystem::temp_directory_path());
  return options;
}

std::shared_ptr<asio::ssl::context> read_tls(const TlsFiles& files) {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_server);
  boost::system::error_code code;
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  context->use_certificate_chain_file(files.certificate.string(), code);
  if (code)
    throw base::Error(base::Kind::invalid,
                      "certificate " + files.certificate.string() + ": " + code.message());
  context->use_private_key_file(files.key.string(), asio::ssl::context::pem, code);
  if (code) throw base::Error(base::Kind::invalid, "key " + files.key.string() + ": " + code.message());
  if (SSL_CTX_check_private_key(context->native_handle()) != 1)
    throw base::Error(base::Kind::invalid, "key " + files.key.string() + " is not that of certificate " +
                                               files.certificate.string());
  return context;
}

}  // namespace

Service::Service(ServerOptions given, Dispatch dispatch)
    : options(with_folder(std::move(given))),
      dispatch_(std::move(dispatch)),
      handlers("http-worker", options.workers, options.max_waiting),
      disk("http-disk", 4, SIZE_MAX) {
  if (options.tls) load_tls();
}

template <class Body>
Response Service::guarded(const Request& request, Body body) const {
  base::LogRequest scope(request.id);
  try {
    return body();
  } catch (const base::Error& error) {
    return refuse(request, status_of(error.kind()), error);
  } catch (const std::exception& error) {
    base::log(base::Level::error, "handler_failed", {{"target", request.target}, {"error", error.what()}});
    return refuse(request, 500, {base::Kind::internal, "internal error"});
  }
}

Response Service::run(const Handler& handler, Request& request, Spool* spool) const {
  return guarded(request, [&] {
    if (spool) request.body = spool->finish();
    return handler(request);
  });
}

std::variant<Accepted, Response> Service::dispatch(const Request& head) const {
  Accepted accepted;
  auto answer = guarded(head, [&]() -> Response {
    auto decided = dispatch_(head);
    if (auto* response = std::get_if<Response>(&decided)) return std::move(*response);
    accepted = std::get<Accepted>(std::move(decided));
    TEXTMILL_CHECK(accepted.handler != nullptr);
    return {};
  });
  if (accepted.handler) return accepted;
  return answer;
}

Response Service::failed(const Request& request, std::exception_ptr error) const {
  return guarded(request, [&]() -> Response { std::rethrow_exception(error); });
}

Response Service::refuse(const Request& request, int status, const base::Error& error) const {
  return options.refuse ? options.refuse(request, status, error) : error_response(status, error);
}

std::shared_ptr<asio::ssl::context> Service::tls() const {
  std::lock_guard lock(mutex_);
  return tls_;
}

void Service::load_tls() {
  auto fresh = read_tls(*options.tls);
  std::lock_guard lock(mutex_);
  tls_ = std::move(fresh);
}

void Service::opened() { ++connections_; }

void Service::closed() {
  std::lock_guard lock(mutex_);
  if (--connections_ == 0) none_left_.notify_all();
}

bool Service::wait_until_closed(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  return none_left_.wait_for(lock, limit, [this] { return connections_ == 0; });
}

void Service::wait_until_closed() {
  std::unique_lock lock(mutex_);
  none_left_.wait(lock, [this] { return connections_ == 0; });
}

}  // namespace textmill::http::detail
