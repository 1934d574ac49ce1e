#pragma once

#include <optional>
#include <string>

#include "http/detail/connection.h"
#include "http/detail/parser.h"

namespace textmill::http::detail {

/// One connection's loop: a head, its body, a handler's answer, and again.
class Session {
 public:
  explicit Session(std::shared_ptr<Connection> connection);
  awaitable<void> run();

 private:
  enum class Step {
    go_on,
    answer,  // `response_` is to be sent
    gone,    // nobody is there to answer
  };

  /// One request and its answer; false when the connection must end.
  awaitable<bool> exchange();
  void begin();
  awaitable<Step> receive_head();
  Step decide(Accepted& accepted);
  bool expects_continue() const;
  awaitable<Step> receive_body(const Accepted& accepted);
  awaitable<Step> spool(uint64_t limit);
  awaitable<bool> read_body();
  awaitable<Step> store_block();
  bool storing_failed() const;
  /// Waits for the blocks that are being hashed and written.
  awaitable<Step> settle();
  awaitable<Step> handle(const Accepted& accepted);
  Step refuse(int status, const base::Error& error);
  Step refuse_message();
  Step silence_or_timeout();
  void report(bool complete);

  // answer.cc
  /// Sends `response_`; false when the client could not be given all of it.
  awaitable<bool> answer();
  awaitable<Step> resolve_later();
  awaitable<bool> send_bytes();
  awaitable<bool> send_range();
  awaitable<bool> send_stream();
  /// The head of `response_` for a body of `length` bytes, or one whose end is told otherwise.
  std::string head(std::optional<uint64_t> length);
  /// Whether a body without a known length goes out in chunks; else it ends with the connection.
  bool chunked() const { return request_.version >= 11; }

  // forward.cc
  /// Sends the request on and the answer back; go_on: `response_` is now another one.
  awaitable<Step> forward();
  awaitable<bool> connect_upstream(const Forward& forward, Upstream& upstream);
  /// go_on: there was no answer.
  awaitable<Step> exchange_upstream(const Forward& forward, Upstream& upstream);
  awaitable<bool> send_upstream(const Forward& forward, Upstream& upstream);
  awaitable<bool> read_upstream(Upstream& upstream);
  awaitable<bool> pass_back(const Forward& forward, Upstream& upstream);
  Step forward_failed(const Forward& forward, base::Kind kind, const std::string& what);

  std::shared_ptr<Connection> owner_;
  Connection& connection_;
  Loop& loop_;
  Service& service_;
  const std::string peer_;

  // Of the exchange under way.
  std::optional<RequestParser> parser_;
  std::optional<Spool> spool_;
  std::vector<std::shared_ptr<Connection::Work>> storing_;  // runs of lanes
  Request request_;
  std::stop_source stop_;
  Response response_;
  bool keep_alive_ = false;
  uint64_t received_ = 0, sent_ = 0;
};

/// Appends `piece` as a chunk, unless it is empty, and the last chunk.
void add_chunk(std::string& out, std::string_view piece, bool last);

}  // namespace textmill::http::detail
