#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "base/files.h"
#include "http/message.h"

namespace textmill::http {

/// What a dispatcher decides from the head alone, before any of the body is read.
struct Accepted {
  const Handler* handler = nullptr;  // must live as long as the server
  BodyRules body;
  bool blocking = true;  // false: runs on the io thread, for answers that need neither waiting nor work
};

/// Runs on the io thread: looks at the head (the body is empty), returns who will handle the request, or the answer
/// at once, and then the body is never read. An Error becomes an answer by `status_of`.
using Dispatch = std::function<std::variant<Accepted, Response>(const Request& head)>;

/// Where bodies stay while they come in.
struct SpoolLimits {
  size_t memory = 1 << 20;          // a body beyond this goes to a staging file
  size_t memory_total = 256 << 20;  // held by all bodies together; beyond it they go to files early
  base::Path folder;                // of the staging files; empty: that for temporary files
};

struct TlsFiles {
  base::Path certificate;  // PEM, the whole chain
  base::Path key;          // PEM
};

/// Whether a PEM file has a certificate that signed itself: then clients may trust the file. Throws invalid if it has none.
bool holds_authority(const base::Path& file);

/// An answered request, for logs and metrics.
struct Finished {
  const Request& request;  // without its body
  int status;
  uint64_t body_received, body_sent;
  double seconds;  // from the head's arrival to the last byte handed to the kernel
  bool complete;   // false: the client left before the end, or the body broke
};

struct ServerOptions {
  std::string host = "127.0.0.1";  // a numeric address, or localhost
  uint16_t port = 0;               // 0: a free one
  int io_threads = 1;
  int workers = 4;            // threads for handlers
  size_t max_waiting = 1024;  // requests that wait for a worker; beyond it they are refused (limit)
  size_t max_connections = 12'000;
  int crowded_status = 503;        // for connections beyond those; with Retry-After
  uint32_t max_header = 16 << 10;  // bytes; 431 beyond it
  uint64_t max_body = 64 << 20;    // bytes; 413 beyond it
  SpoolLimits spool;
  std::chrono::milliseconds header_timeout{
      20'000};                                      // from the first byte of a request to the end of its head
  std::chrono::milliseconds idle_timeout{75'000};   // between requests
  std::chrono::milliseconds stall_timeout{30'000};  // without a byte of a body, either way
  /// The same of an answer while the client's machine does answer: a slow program takes minutes to make its kernel ask for
  /// more.
  std::chrono::milliseconds taking_timeout{600'000};
  std::optional<TlsFiles> tls;
  std::string request_id_header = "x-request-id";  // on every answer
  /// The answer for what fails outside a handler, or throws inside one. Must not throw. Empty: error_response.
  std::function<Response(const Request&, int status, const base::Error&)> refuse;
  /// Called on the io thread after each answer; must not block.
  std::function<void(const Finished&)> finished;
};

/// An HTTP/1.1 server. Serves from the end of the constructor to the end of the object.
class Server {
 public:
  /// Binds and starts. Throws in_use, denied, invalid naming the address or the file.
  Server(ServerOptions options, Dispatch dispatch);
  Server(const Server&) = delete;
  /// drain(0).
  ~Server();

  uint16_t port() const;
  size_t connections() const;
  /// Accepts no more, closes idle connections, lets what is in flight finish. After `limit` the stop tokens of the
  /// rest are asked and their connections closed. Returns when all handlers have returned; true if none was cut.
  bool drain(std::chrono::milliseconds limit);
  /// Reads certificate and key again: new connections get them. Throws, and keeps the old ones, if they are bad.
  void reload_tls();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace textmill::http
