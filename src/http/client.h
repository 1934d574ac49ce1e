#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/files.h"
#include "http/message.h"

namespace textmill::http {

struct ClientOptions {
  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::milliseconds timeout{60'000};  // without a byte, either way
  int max_redirects = 5;                      // followed for GET and HEAD
  size_t max_body = 64 << 20;                 // of an answer that is kept in memory; limit beyond it
  base::Path certificates;                    // PEM of the authorities to trust; empty: the system's
  base::Path pinned;  // PEM of the one certificate to trust, whatever it names, instead
  std::string user_agent = "textmill";
};

struct ClientRequest {
  std::string method = "GET";
  std::string url;  // http:// or https://
  Headers headers;
  std::string_view body;
  std::shared_ptr<const OpenFile> file;  // sent instead of `body` when there
  std::stop_token stop;
};

struct ClientResponse {
  int status = 0;
  Headers headers;
  std::string body;
  std::string url;  // after redirects
};

/// Takes a piece of an answer's body; the response holds status, headers and url by then.
using BodySink = std::function<void(const ClientResponse& head, std::string_view piece)>;

/// A blocking HTTP/1.1 client that keeps connections open between requests. One thread at a time. Throws unavailable
/// (cannot connect, broken off, certificate refused), cancelled (`stop`, a timeout), invalid (bad url), limit: each
/// names the host. A status is never an error.
class Client {
 public:
  explicit Client(ClientOptions options = {});
  ~Client();

  ClientResponse send(const ClientRequest& request);
  /// The same, the body going to `sink` as it comes, of any length.
  ClientResponse send(const ClientRequest& request, const BodySink& sink);

 private:
  struct Exchange;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace textmill::http
