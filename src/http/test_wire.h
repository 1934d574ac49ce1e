#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "http/router.h"
#include "http/server.h"

namespace textmill::http {

/// A client that says exactly what a test wants to say. Reads give up after `kPatience`: a test fails, it never hangs.
class Wire {
 public:
  static constexpr std::chrono::seconds kPatience{20};

  explicit Wire(uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    if (::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) close();
  }
  /// A connection that somebody else opened.
  static Wire adopt(int fd) { return Wire(fd, {}); }
  Wire(const Wire&) = delete;
  Wire(Wire&& other) noexcept : fd_(std::exchange(other.fd_, -1)), input_(std::move(other.input_)) {}
  ~Wire() { close(); }

  int fd() const { return fd_; }
  bool connected() const { return fd_ >= 0; }
  /// False once the server has closed.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }
  void end_sending() { ::shutdown(fd_, SHUT_WR); }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  /// The next close() is a reset.
  void reset_on_close() {
    linger hard{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  }

  /// Up to and with `mark`; what came if the server closes or stays silent first.
  std::string until(std::string_view mark) {
    for (;;) {
      if (auto at = input_.find(mark); at != std::string::npos) return take(at + mark.size());
      if (!more()) return take(input_.size());
    }
  }
  std::string exactly(size_t count) {
    while (input_.size() < count && more()) {}
    return take(std::min(count, input_.size()));
  }
  std::string rest() {
    while (more()) {}
    return take(input_.size());
  }
  bool closed_by_server() { return input_.empty() && !more() && ended_; }

  /// One answer with a Content-Length.
  struct Answer {
    int status = 0;
    std::string head, body;
    bool has(std::string_view text) const { return head.find(text) != std::string::npos; }
  };
  Answer answer(bool with_body = true) {
    Answer answer;
    answer.head = until("\r\n\r\n");
    if (answer.head.size() > 12) answer.status = std::stoi(answer.head.substr(9, 3));
    auto at = answer.head.find("Content-Length: ");
    if (with_body && at != std::string::npos) answer.body = exactly(std::stoul(answer.head.substr(at + 16)));
    return answer;
  }
  Answer ask(std::string_view request) {
    send(request);
    return answer();
  }

 private:
  Wire(int fd, std::string input) : fd_(fd), input_(std::move(input)) {}
  bool more() {
    pollfd waiting{fd_, POLLIN, 0};
    if (::poll(&waiting, 1, std::chrono::milliseconds(kPatience).count()) <= 0) return false;
    char block[65536];
    ssize_t n = ::recv(fd_, block, sizeof block, 0);
    ended_ = n <= 0;
    if (n > 0) input_.append(block, static_cast<size_t>(n));
    return n > 0;
  }
  std::string take(size_t count) {
    std::string out = input_.substr(0, count);
    input_.erase(0, count);
    return out;
  }

  int fd_;
  std::string input_;
  bool ended_ = false;
};

/// Opens once; those who wait for it fail the test rather than hang.
class Gate {
 public:
  void open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  bool wait() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, Wire::kPatience, [this] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

inline Response text(std::string body) { return {200, {{"Content-Type", "text/plain"}}, std::move(body)}; }

/// A server with these routes on a free port.
struct Running {
  explicit Running(std::vector<Route> routes, ServerOptions options = {})
      : router(std::move(routes)), server(std::move(options), router.dispatch()) {}
  Wire wire() { return Wire(server.port()); }

  Router router;
  Server server;
};

inline std::string get(std::string_view path, std::string_view more = {}) {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: t\r\n" + std::string(more) + "\r\n";
}

inline std::string post(std::string_view path, std::string_view body, std::string_view more = {}) {
  return "POST " + std::string(path) +
         " HTTP/1.1\r\nHost: t\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
         std::string(more) + "\r\n" + std::string(body);
}

}  // namespace textmill::http
