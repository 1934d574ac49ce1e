#include "http/detail/loop.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "base/log.h"
#include "http/detail/connection.h"
#include "http/detail/session.h"
#include "http/detail/upstream.h"

namespace textmill::http::detail {
namespace {

/// A session's top: it owns the connection, and what it throws ends it.
awaitable<void> serve(std::shared_ptr<Connection> connection) {
  try {
    Session session(connection);
    co_await session.run();
  } catch (const std::exception& error) {
    base::log(base::Level::error, "session_failed", {{"error", error.what()}});
  }
  connection->close();
}

}  // namespace

Loop::Loop(Service& s) : service(s) {
  // A deadline is met within a quarter of the shortest limit, and at least within a second.
  const auto& o = service.options;
  tick_ = std::clamp(std::min({o.header_timeout, o.idle_timeout, o.stall_timeout}) / 4,
                     std::chrono::milliseconds(5), std::chrono::milliseconds(1000));
}

Loop::~Loop() = default;

void Loop::start(tcp::socket socket) {
  auto connection = std::make_shared<Connection>(*this, std::move(socket), service.tls());
  asio::co_spawn(context, serve(std::move(connection)), asio::detached);
}

void Loop::drain() {
  for (auto* connection : connections_)
    if (connection->idle) connection->abort();
}

size_t Loop::abort() {
  return static_cast<size_t>(
      std::ranges::count_if(connections_, [](auto* connection) { return connection->abort(); }));
}

void Loop::add(Connection& connection) {
  service.opened();
  connections_.insert(&connection);
  if (!sweeping_) sweep();
}

void Loop::remove(Connection& connection) {
  connections_.erase(&connection);
  if (connections_.empty()) timer_.cancel();
  service.closed();
}

void Loop::sweep() {
  sweeping_ = true;
  timer_.expires_after(tick_);
  timer_.async_wait([this](boost::system::error_code code) {
    sweeping_ = false;
    const auto now = base::steady_now();
    if (!code)
      for (auto* connection : connections_) connection->check_deadline(now);
    if (!connections_.empty()) sweep();
  });
}

const std::string& Loop::date() {
  const time_t now = ::time(nullptr);
  if (now != date_second_) {
    char text[32];
    tm parts;
    ::gmtime_r(&now, &parts);
    date_.assign(text, std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts));
    date_second_ = now;
  }
  return date_;
}

}  // namespace textmill::http::detail
