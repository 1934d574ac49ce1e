#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/error.h"
#include "http/body.h"

namespace textmill::http {

/// Header fields in the order of arrival; names compare without case.
class Headers {
 public:
  using Field = std::pair<std::string, std::string>;

  Headers() = default;
  Headers(std::initializer_list<Field> fields) : fields_(fields) {}

  /// The first field of that name.
  std::optional<std::string_view> find(std::string_view name) const;
  std::string_view get(std::string_view name, std::string_view otherwise = {}) const {
    return find(name).value_or(otherwise);
  }
  void add(std::string name, std::string value);
  /// Instead of all fields of that name.
  void set(std::string name, std::string value);
  void remove(std::string_view name);

  size_t size() const { return fields_.size(); }
  auto begin() const { return fields_.begin(); }
  auto end() const { return fields_.end(); }

 private:
  std::vector<Field> fields_;
};

/// ASCII letters compared without case.
bool same_name(std::string_view a, std::string_view b);

/// A request, whole: the body has been received before a handler sees it.
struct Request {
  std::string method;  // as sent: "GET"
  std::string target;  // path and query as sent, still percent-encoded; an absolute form is stripped to this
  int version = 11;    // 10 or 11
  Headers headers;
  Body body;
  std::string id;    // the client's x-request-id or x-amzn-requestid, else a fresh one
  std::string peer;  // numeric address of the client
  bool tls = false;
  std::string note;                                // a handler's word for ServerOptions::finished
  std::chrono::steady_clock::time_point received;  // when its head was complete
  std::stop_token stop;  // asked when the client leaves or the server gives up on it

  std::string_view path() const;   // the target up to '?'
  std::string_view query() const;  // after it
};

struct Response;

/// Wakes the session that polls; may be called from any thread, at any time, also when the session is gone.
using Waker = std::function<void()>;

/// A part of an open file. The file must not shrink while it is sent.
struct FileRange {
  std::shared_ptr<const OpenFile> file;
  uint64_t offset = 0, length = 0;
};

/// A body that is produced piece by piece, such as server-sent events.
struct Stream {
  enum class Pull { more, wait, end };
  /// Appends what is ready and returns at once; runs on the io thread, so it must not block. `more`: call again
  /// when that is sent; `wait`: the waker will be called when there is more; `end`: this was all. An exception
  /// cuts the connection, so that the client sees a broken body. Destroyed when the client leaves.
  std::function<Pull(std::string& out, const Waker& waker)> pull;
  /// Known in advance, or chunked.
  std::optional<uint64_t> length;
};

/// An answer that is not there yet: the handler returns, its thread is free, the session waits.
struct Later {
  /// Fills `answer` and returns true, or arranges for the waker to be called and returns false. Runs on the io
  /// thread. Destroyed when the server gives up on the request.
  std::function<bool(Response& answer, const Waker& waker)> poll;
};

/// Changes another server's body on its way to the client; its length is not known then. On the io thread.
struct BodyFilter {
  /// What goes out for a piece, as it was read.
  std::function<std::string(std::string_view piece)> piece;
  /// What goes out at the end; not `whole`: the other server broke off, and the answer ends properly nevertheless.
  std::function<std::string(bool whole)> end;
};

/// The request is sent on to another server and its answer is streamed back.
struct Forward {
  std::string host;
  uint16_t port = 0;
  std::string method, target;  // empty: those of the request
  std::optional<Headers>
      headers;  // sent instead of the request's; hop-by-hop fields and lengths are the forwarder's
  std::chrono::milliseconds connect_timeout{1000};
  std::chrono::milliseconds timeout{
      60'000};                // from the last byte sent to the head of the answer; between pieces
  bool whole_within = false;  // the timeout is that of the whole answer
  /// May change the head of the answer before it goes to the client, and the body.
  std::function<std::optional<BodyFilter>(int& status, Headers& headers)> edit;
  /// The answer when the other server cannot be reached (not_found: it has seen nothing of the request) or has failed
  /// before its head was complete (unavailable; cancelled: the timeout). On the io thread; may be another forward.
  /// Empty: 502, 504.
  std::function<Response(const base::Error&)> otherwise;
  /// Held until the exchange is over.
  std::shared_ptr<void> lease;
};

struct Response {
  int status = 200;
  Headers headers;  // Content-Length, Transfer-Encoding, Connection and Date are the server's
  std::variant<std::string, FileRange, Stream, Later, Forward> body;
};

/// Runs on a worker thread and may block. An Error becomes an answer by `status_of`.
using Handler = std::function<Response(Request&)>;

/// "Not Found"; "" for a status without a usual name.
std::string_view reason(int status);

/// The one map from kinds of errors to statuses: invalid 400, denied 403, not_found 404, exists, in_use and
/// conflict 409, limit 429, cancelled 499, internal 500, unavailable 503.
int status_of(base::Kind kind);

/// text-embeddings-inference's word for a status that is an error.
std::string_view error_type(int status);

/// A JSON body {"error":message,"error_type":type}.
Response error_response(int status, const base::Error& error, std::string_view type);
/// The type by status.
Response error_response(int status, const base::Error& error);

}  // namespace textmill::http
