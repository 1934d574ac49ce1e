#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

#include "http/detail/asio.h"
#include "http/detail/spool.h"
#include "http/detail/workers.h"
#include "http/server.h"

namespace textmill::http::detail {

/// What the loops and sessions of one server share.
class Service {
 public:
  Service(ServerOptions options, Dispatch dispatch);

  /// The body's end, then the handler, on a worker; whatever is thrown becomes an answer.
  Response run(const Handler& handler, Request& request, Spool* spool) const;
  /// The dispatcher's word; whatever it throws becomes an answer.
  std::variant<Accepted, Response> dispatch(const Request& head) const;
  /// The answer to an exception.
  Response failed(const Request& request, std::exception_ptr error) const;
  Response refuse(const Request& request, int status, const base::Error& error) const;

  std::shared_ptr<asio::ssl::context> tls() const;
  void load_tls();

  const ServerOptions options;
  std::shared_ptr<std::atomic<int64_t>> body_memory = std::make_shared<std::atomic<int64_t>>(0);
  std::atomic<bool> draining = false;

  /// Counts the connections that live.
  void opened();
  void closed();
  size_t connections() const { return connections_; }
  /// True when there are none before `limit` is over.
  bool wait_until_closed(std::chrono::milliseconds limit);
  void wait_until_closed();

 private:
  template <class Body>
  Response guarded(const Request& request, Body body) const;

  const Dispatch dispatch_;
  mutable std::mutex mutex_;
  std::condition_variable none_left_;
  std::atomic<size_t> connections_ = 0;
  std::shared_ptr<asio::ssl::context> tls_;

 public:
  // Last: their threads end before what they use.
  Workers handlers, disk;
};

}  // namespace textmill::http::detail
