#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "http/detail/session.h"
#include "http/detail/upstream.h"

namespace textmill::http::detail {
namespace {

constexpr uint32_t kMaxHead = 64 << 10;
constexpr size_t kRead = 64 << 10;
constexpr size_t kMaxIdle = 64;  // kept open for each server

/// The fields that belong to one connection, and those that the forwarder writes itself.
bool hop_by_hop(std::string_view name) {
  static constexpr std::string_view kNames[] = {
      "Connection",        "Keep-Alive", "Proxy-Connection", "TE",     "Trailer",
      "Transfer-Encoding", "Upgrade",    "Content-Length",   "Expect", "Host"};
  return std::ranges::any_of(kNames, [&](std::string_view known) { return same_name(known, name); });
}

/// Repeating it does no harm (RFC 9110, 9.2.2).
bool idempotent(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "PUT" || method == "DELETE" || method == "OPTIONS";
}

std::string_view view(const boost::beast::flat_buffer& input) {
  return {static_cast<const char*>(input.data().data()), input.size()};
}

/// An idle connection on which nothing has happened since.
std::unique_ptr<Upstream> take_idle(Loop& loop, const std::string& key) {
  auto& idle = loop.upstreams[key];
  while (!idle.empty()) {
    auto upstream = std::move(idle.back());
    idle.pop_back();
    char byte;
    if (::recv(upstream->socket.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN)
      return upstream;
  }
  return nullptr;
}

/// Tells the connection which other socket it waits for, as long as it lives.
class Other {
 public:
  Other(Connection& connection, tcp::socket& socket) : connection_(connection) { connection.other = &socket; }
  ~Other() { connection_.other = nullptr; }

 private:
  Connection& connection_;
};

}  // namespace

awaitable<Session::Step> Session::forward() {
  const auto forward = std::get<Forward>(std::move(response_.body));
  const std::string key = forward.host + ":" + std::to_string(forward.port);
  for (auto upstream = take_idle(loop_, key);; upstream = nullptr) {
    if (!upstream) {
      upstream = std::make_unique<Upstream>(loop_.context);
      bool connected = co_await connect_upstream(forward, *upstream);
      if (!connected) co_return forward_failed(forward, base::Kind::not_found, "cannot connect to " + key);
    }
    Other other(connection_, upstream->socket);
    Step step = co_await exchange_upstream(forward, *upstream);
    const bool stale = step == Step::go_on && upstream->reused && !upstream->answered &&
                       !connection_.left() && !connection_.expired() &&
                       (!upstream->sent || idempotent(request_.method));
    if (stale) continue;
    if (step == Step::go_on)
      co_return forward_failed(forward, base::Kind::unavailable,
                               key + " closed the connection before its answer");
    auto& idle = loop_.upstreams[key];
    if (step == Step::answer && upstream->parser->done() && upstream->parser->keep_alive() &&
        idle.size() < kMaxIdle) {
      upstream->reused = true;
      idle.push_back(std::move(upstream));
    }
    co_return step;
  }
}

awaitable<bool> Session::connect_upstream(const Forward& forward, Upstream& upstream) {
  Other other(connection_, upstream.socket);
  connection_.expect_within(forward.connect_timeout);
  boost::system::error_code code;
  tcp::endpoint endpoint(asio::ip::make_address(forward.host, code), forward.port);
  if (code) {
    tcp::resolver resolver(loop_.context);
    auto [failed, found] =
        co_await resolver.async_resolve(forward.host, std::to_string(forward.port), kTuple);
    if (failed || found.empty()) co_return false;
    endpoint = *found.begin();
  }
  auto [failed] = co_await upstream.socket.async_connect(endpoint, kTuple);
  if (failed) co_return false;
  upstream.socket.set_option(tcp::no_delay(true), code);
  upstream.socket.native_non_blocking(true, code);
  co_return true;
}

awaitable<Session::Step> Session::exchange_upstream(const Forward& forward, Upstream& upstream) {
  upstream.sent = upstream.answered = false;
  upstream.sent = co_await send_upstream(forward, upstream);
  // Even where the request could not be sent whole: an early refusal may be there to read.
  connection_.expect_within(forward.timeout);
  upstream.due = base::steady_now() + forward.timeout;
  do {
    upstream.parser.emplace(kMaxHead);
    if (request_.method == "HEAD") upstream.parser->skip(true);
    std::string none;
    while (!upstream.parser->head_done()) {
      upstream.input.consume(upstream.parser->feed(view(upstream.input), none));
      if (upstream.parser->refusal()) co_return Step::go_on;
      if (upstream.parser->head_done()) break;
      bool more = co_await read_upstream(upstream);
      if (!more) co_return Step::go_on;
    }
  } while (upstream.parser->status / 100 == 1);
  bool passed = co_await pass_back(forward, upstream);
  co_return passed ? Step::answer : Step::gone;
}

awaitable<bool> Session::send_upstream(const Forward& forward, Upstream& upstream) {
  std::string head = (forward.method.empty() ? request_.method : forward.method) + ' ' +
                     (forward.target.empty() ? request_.target : forward.target) + " HTTP/1.1\r\n";
  auto add = [&](const std::string& name, const std::string& value) { head += name + ": " + value + "\r\n"; };
  const auto& headers = forward.headers ? *forward.headers : request_.headers;
  add("Host", forward.host + ":" + std::to_string(forward.port));
  for (const auto& [name, value] : headers)
    if (!hop_by_hop(name)) add(name, value);
  if (!headers.find(service_.options.request_id_header)) add(service_.options.request_id_header, request_.id);
  if (request_.body.size() > 0 || request_.method == "POST" || request_.method == "PUT")
    add("Content-Length", std::to_string(request_.body.size()));
  head += "\r\n";

  const std::string_view body = request_.body.text();
  for (size_t at = 0; at < head.size() + body.size();) {
    const size_t in_body = at > head.size() ? at - head.size() : 0;
    std::array<asio::const_buffer, 2> buffers{asio::buffer(head) + at, asio::buffer(body) + in_body};
    connection_.expect_within(service_.options.stall_timeout);
    auto [code, n] = co_await upstream.socket.async_write_some(buffers, kTuple);
    if (code) co_return false;
    at += n;
  }
  co_return true;
}

awaitable<bool> Session::read_upstream(Upstream& upstream) {
  auto space = upstream.input.prepare(std::min(kRead, upstream.input.max_size() - upstream.input.size()));
  auto [code, n] = co_await upstream.socket.async_read_some(space, kTuple);
  upstream.input.commit(n);
  if (n > 0) upstream.answered = true;
  if (code == asio::error::eof && upstream.parser->head_done()) upstream.parser->end_of_input();
  co_return n > 0;
}

/// The head and each piece of the answer as it comes; false when either side broke off.
awaitable<bool> Session::pass_back(const Forward& forward, Upstream& upstream) {
  auto& parser = *upstream.parser;
  response_.status = parser.status;
  response_.headers = {};
  for (const auto& [name, value] : parser.headers)
    if (!hop_by_hop(name) || (request_.method == "HEAD" && same_name(name, "Content-Length")))
      response_.headers.add(name, value);
  response_.headers.remove(service_.options.request_id_header);
  std::optional<BodyFilter> filter;
  if (forward.edit) filter = forward.edit(response_.status, response_.headers);

  std::optional<uint64_t> length;
  if (auto known = parser.content_length(); known && !filter) length = *known;
  if (parser.done() && !filter) length = 0;
  const bool in_chunks = !length && chunked();
  std::string out = head(length), piece;
  for (bool broken = false;;) {
    piece.clear();
    size_t taken = 1;
    while (!broken && !parser.done() && upstream.input.size() > 0 && taken > 0) {
      taken = parser.feed(view(upstream.input), piece);
      upstream.input.consume(taken);
      broken = parser.refusal().has_value();
    }
    if (broken && !filter) co_return false;
    const bool over = broken || parser.done();
    if (filter) {
      if (!piece.empty()) piece = filter->piece(piece);
      if (over) piece += filter->end(!broken);
    }
    sent_ += piece.size();
    if (in_chunks)
      add_chunk(out, piece, over);
    else
      out += piece;
    bool written = co_await connection_.write(out);
    if (!written || over) co_return written;
    out.clear();
    connection_.expect_within(
        forward.whole_within ? std::chrono::ceil<std::chrono::milliseconds>(upstream.due - base::steady_now())
                             : forward.timeout);
    bool more = co_await read_upstream(upstream);
    broken = !more && !parser.done();
    if (broken && connection_.left()) co_return false;
  }
}

Session::Step Session::forward_failed(const Forward& forward, base::Kind kind, const std::string& what) {
  if (connection_.left()) return Step::gone;
  const bool late = connection_.expired();
  base::Error error(
      late ? base::Kind::cancelled : kind,
      late ? forward.host + ":" + std::to_string(forward.port) + " did not answer in time" : what);
  response_ =
      forward.otherwise ? forward.otherwise(error) : service_.refuse(request_, late ? 504 : 502, error);
  return Step::go_on;
}

}  // namespace textmill::http::detail
