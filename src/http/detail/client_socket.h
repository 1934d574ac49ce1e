#pragma once

#include <openssl/ssl.h>

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

namespace textmill::http::detail {

/// A blocking connection to one server, plain or TLS, whose every wait has a limit and ends when `stop` is asked.
/// Throws unavailable or cancelled, naming the server.
class ClientSocket {
 public:
  struct Limits {
    std::chrono::milliseconds connect, idle;
  };

  /// `tls`: null for plain. The certificate must be that of `host`.
  ClientSocket(const std::string& host, const std::string& port, SSL_CTX* tls, Limits limits,
               std::stop_token stop);
  ClientSocket(const ClientSocket&) = delete;
  ~ClientSocket();

  /// Bytes that have come, into `space`; 0 at the end.
  size_t read(char* space, size_t size);
  void write(std::string_view bytes);
  /// Nothing has come and nobody has closed since the last answer.
  bool still_idle() const;
  void listen_to(std::stop_token stop) { stop_ = std::move(stop); }

 private:
  void connect(const std::string& host, const std::string& port);
  void start_tls(SSL_CTX* context, const std::string& host);
  /// Waits until the socket is ready for `events`, at most `limit`.
  void wait(short events, std::chrono::milliseconds limit) const;
  size_t receive(char* space, size_t size);
  void transmit(std::string_view bytes);
  /// Sends what TLS has to say and, if it waits for an answer, receives; false at the end.
  bool pump(int result);
  [[noreturn]] void broken(const std::string& why) const;

  const std::string where_;
  const Limits limits_;
  std::stop_token stop_;
  int fd_ = -1;
  std::unique_ptr<SSL, decltype(&SSL_free)> tls_{nullptr, SSL_free};
};

}  // namespace textmill::http::detail
