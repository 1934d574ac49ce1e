#pragma once

#include <chrono>
#include <map>
#include <string>
#include <unordered_set>
#include <vector>

#include "http/detail/asio.h"
#include "http/detail/service.h"

namespace textmill::http::detail {

class Connection;
struct Upstream;

/// One io thread's world: its connections, their deadlines, its idle connections to other servers. All members but
/// `context` and `service` belong to that thread.
class Loop {
 public:
  explicit Loop(Service& service);
  ~Loop();

  /// Starts a session on the socket.
  void start(tcp::socket socket);
  /// Closes the connections that wait for a request; the others close after their answer.
  void drain();
  /// Cuts all connections; returns how many were busy.
  size_t abort();

  void add(Connection& connection);
  void remove(Connection& connection);
  /// "Sun, 06 Nov 1994 08:49:37 GMT", now.
  const std::string& date();

  asio::io_context context{1};
  Service& service;
  /// Idle connections by "host:port"; the last in is the first out.
  std::map<std::string, std::vector<std::unique_ptr<Upstream>>> upstreams;

 private:
  void sweep();

  std::unordered_set<Connection*> connections_;
  asio::steady_timer timer_{context};
  bool sweeping_ = false;
  std::chrono::milliseconds tick_;
  std::string date_;
  time_t date_second_ = 0;
};

}  // namespace textmill::http::detail
