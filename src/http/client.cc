#include "http/client.h"

#include <openssl/err.h>
#include <unistd.h>

#include <algorithm>
#include <boost/url.hpp>
#include <cerrno>
#include <map>

#include "http/detail/certificates.h"
#include "http/detail/client_socket.h"
#include "http/detail/parser.h"

namespace textmill::http {
namespace {

using detail::ClientSocket;
using detail::ResponseParser;

constexpr uint32_t kMaxHead = 64 << 10;
constexpr size_t kBlock = 128 << 10;

struct Address {
  bool tls;
  std::string host, port, target;
  std::string key() const { return (tls ? "https " : "http ") + host + ":" + port; }
};

Address parse_url(const std::string& text) {
  auto url = boost::urls::parse_uri(text);
  if (!url || (url->scheme() != "http" && url->scheme() != "https") || url->encoded_host().empty())
    throw base::Error(base::Kind::invalid, "expected an http:// or https:// url, not " + text);
  const bool tls = url->scheme() == "https";
  return {tls, url->host_address(),
          url->has_port() ? std::string(url->port())
          : tls           ? "443"
                          : "80",
          (url->encoded_path().empty() ? "/" : "") + std::string(url->encoded_resource())};
}

std::string resolve(const std::string& base, const std::string& location) {
  auto from = boost::urls::parse_uri(base);
  auto to = boost::urls::parse_uri_reference(location);
  boost::urls::url out;
  if (!to || !boost::urls::resolve(*from, *to, out))
    throw base::Error(base::Kind::unavailable, base + " redirects to what is not a url: " + location);
  out.remove_fragment();
  return std::string(out.buffer());
}

bool redirects(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/// The server must show this very certificate; then its names and who signed it say nothing more.
std::shared_ptr<SSL_CTX> pinned(const std::shared_ptr<SSL_CTX>& context, const base::Path& file) {
  std::shared_ptr<X509> own = detail::read_certificates(file)[0];
  auto is_own = [](X509_STORE_CTX* shown, void* own) {
    if (X509_cmp(X509_STORE_CTX_get0_cert(shown), static_cast<X509*>(own)) == 0) return 1;
    X509_STORE_CTX_set_error(shown, X509_V_ERR_CERT_UNTRUSTED);
    return 0;
  };
  SSL_CTX_set_cert_verify_callback(context.get(), is_own, own.get());
  return {context.get(), [context, own](SSL_CTX*) {}};
}

std::shared_ptr<SSL_CTX> trust(const ClientOptions& options) {
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  if (!options.pinned.empty()) return pinned(context, options.pinned);
  const base::Path& certificates = options.certificates;
  const bool known = certificates.empty()
                         ? SSL_CTX_set_default_verify_paths(context.get()) == 1
                         : SSL_CTX_load_verify_file(context.get(), certificates.c_str()) == 1;
  ::ERR_clear_error();
  if (!known) throw base::Error(base::Kind::invalid, "no certificates in " + certificates.string());
  return context;
}

std::string request_head(const ClientRequest& request, const Address& address, uint64_t length,
                         const std::string& user_agent, bool keep_secrets) {
  const bool named_port = address.port != (address.tls ? "443" : "80");
  const bool v6 = address.host.find(':') != std::string::npos;
  std::string head = request.method + ' ' + address.target +
                     " HTTP/1.1\r\nHost: " + (v6 ? "[" + address.host + "]" : address.host) +
                     (named_port ? ":" + address.port : "") + "\r\n";
  for (const auto& [name, value] : request.headers) {
    const bool secret = same_name(name, "Authorization") || same_name(name, "Cookie");
    if (keep_secrets || !secret) head += name + ": " + value + "\r\n";
  }
  if (!request.headers.find("User-Agent")) head += "User-Agent: " + user_agent + "\r\n";
  if (length > 0 || request.method == "POST" || request.method == "PUT")
    head += "Content-Length: " + std::to_string(length) + "\r\n";
  return head += "\r\n";
}

void send_file(ClientSocket& socket, const OpenFile& file, uint64_t length) {
  std::string block(kBlock, '\0');
  for (uint64_t sent = 0; sent < length;) {
    ssize_t n = ::pread(file.fd(), block.data(), std::min<uint64_t>(block.size(), length - sent),
                        static_cast<off_t>(sent));
    if (n <= 0) throw base::system_error("cannot read a file that is being sent", n < 0 ? errno : EIO);
    socket.write({block.data(), static_cast<size_t>(n)});
    sent += static_cast<uint64_t>(n);
  }
}

}  // namespace

/// One connection and what was read on it beyond the last answer.
struct Client::Exchange {
  std::unique_ptr<ClientSocket> socket;
  std::string input;

  /// The head of the answer, or the next piece of its body in `piece`.
  void step(ResponseParser& parser, std::string& piece);
};

void Client::Exchange::step(ResponseParser& parser, std::string& piece) {
  size_t taken = input.empty() ? 0 : parser.feed(input, piece);
  input.erase(0, taken);
  if (taken == 0 && !parser.refusal()) {
    const size_t before = input.size();
    input.resize(before + kBlock);
    const size_t n = socket->read(input.data() + before, kBlock);
    input.resize(before + n);
    if (n == 0) parser.end_of_input();
  }
  if (parser.refusal())
    throw base::Error(base::Kind::unavailable, "a broken answer: " + parser.refusal()->message);
}

struct Client::State {
  ClientOptions options;
  std::map<std::string, Exchange> idle;
  std::shared_ptr<SSL_CTX> tls;

  Exchange connect(const Address& address, std::stop_token stop);
  ClientResponse exchange(const ClientRequest& request, const std::string& url, bool keep_secrets,
                          const BodySink& sink);
};

Client::Exchange Client::State::connect(const Address& address, std::stop_token stop) {
  if (auto found = idle.find(address.key()); found != idle.end()) {
    auto exchange = std::move(found->second);
    idle.erase(found);
    exchange.socket->listen_to(stop);
    if (exchange.input.empty() && exchange.socket->still_idle()) return exchange;
  }
  if (address.tls && !tls) tls = trust(options);
  return {std::make_unique<ClientSocket>(address.host, address.port, address.tls ? tls.get() : nullptr,
                                         ClientSocket::Limits{options.connect_timeout, options.timeout},
                                         stop)};
}

ClientResponse Client::State::exchange(const ClientRequest& request, const std::string& url,
                                       bool keep_secrets, const BodySink& sink) {
  const Address address = parse_url(url);
  const uint64_t length = request.file ? request.file->size() : request.body.size();
  auto exchange = connect(address, request.stop);
  exchange.socket->write(request_head(request, address, length, options.user_agent, keep_secrets));
  if (request.file)
    send_file(*exchange.socket, *request.file, length);
  else
    exchange.socket->write(request.body);

  std::optional<ResponseParser> parser;
  std::string piece;
  do {
    parser.emplace(kMaxHead);
    if (request.method == "HEAD") parser->skip(true);
    while (!parser->head_done()) exchange.step(*parser, piece);
  } while (parser->status / 100 == 1);

  ClientResponse response{parser->status, std::move(parser->headers), {}, url};
  const bool wanted = !redirects(response.status) || !response.headers.find("Location");
  for (;;) {
    if (sink && wanted && !piece.empty())
      sink(response, piece);
    else if (response.body.size() + piece.size() > options.max_body)
      throw base::Error(base::Kind::limit,
                        url + ": the answer exceeds " + std::to_string(options.max_body) + " bytes");
    else
      response.body += piece;
    piece.clear();
    if (parser->done()) break;
    exchange.step(*parser, piece);
  }
  if (parser->keep_alive()) idle.insert_or_assign(address.key(), std::move(exchange));
  return response;
}

Client::Client(ClientOptions options) : state_(std::make_unique<State>()) {
  state_->options = std::move(options);
}

Client::~Client() = default;

ClientResponse Client::send(const ClientRequest& request) { return send(request, nullptr); }

ClientResponse Client::send(const ClientRequest& request, const BodySink& sink) {
  std::string url = request.url;
  const std::string first = parse_url(url).key();
  const bool may_follow = request.method == "GET" || request.method == "HEAD";
  for (int followed = 0;; ++followed) {
    auto response = state_->exchange(request, url, parse_url(url).key() == first, sink);
    auto location = response.headers.find("Location");
    if (!may_follow || !redirects(response.status) || !location) return response;
    if (followed == state_->options.max_redirects)
      throw base::Error(base::Kind::unavailable,
                        request.url + " redirects more than " + std::to_string(followed) + " times");
    std::string next = resolve(url, std::string(*location));
    if (url.starts_with("https:") && !next.starts_with("https:"))
      throw base::Error(base::Kind::denied, url + " redirects to " + next + ", which is not encrypted");
    url = std::move(next);
  }
}

}  // namespace textmill::http
