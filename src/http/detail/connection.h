#pragma once

#include <array>
#include <boost/beast/core/flat_buffer.hpp>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <stop_token>
#include <string_view>
#include <tuple>

#include "base/time.h"
#include "http/detail/asio.h"
#include "http/detail/loop.h"

namespace textmill::http::detail {

/// Something a session waits for; of one io thread.
class Event {
 public:
  explicit Event(asio::io_context& context) : timer_(context) {}
  /// Returns when set() has been called since the last wait.
  awaitable<void> wait();
  void set();

 private:
  asio::steady_timer timer_;
  bool set_ = false;
};

/// A client's socket, plain or TLS, with a deadline and a watch for the client's leaving. All of it belongs to the
/// loop's thread. Whatever goes wrong on the wire is a `false`: a session then just ends.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Loop& loop, tcp::socket socket, std::shared_ptr<asio::ssl::context> tls);
  ~Connection();

  awaitable<bool> handshake();
  /// Appends to `input` what has come, `most` bytes at most; false at the end, on failure, past the deadline.
  awaitable<bool> read(size_t most);
  /// Puts what has come into `space` instead; how much, 0 at the end, on failure, past the deadline.
  awaitable<size_t> read_into(std::span<char> space);
  /// Both, whole; the stall timeout holds for each step.
  awaitable<bool> write(std::string_view first, std::string_view second = {});
  awaitable<bool> send_file(const FileRange& range);
  /// The end: a clean one where the client may still be sending, so that it sees the answer and not a reset.
  awaitable<void> linger();
  void close();

  /// A piece of blocking work on another thread.
  struct Work {
    bool done = false;
    std::exception_ptr error;
  };
  /// Starts it; nothing when too many wait and the work may be refused.
  std::shared_ptr<Work> start(Workers& workers, std::function<void()> run, bool may_be_refused = false);
  awaitable<void> finish(const Work& work);

  /// Waits until woken: by a waker, by the end of a work, by the client's leaving, by the deadline.
  awaitable<void> wait() { return event_.wait(); }
  /// A function that any thread may call at any time to wake() this connection, until silence().
  Waker waker();
  void silence();

  /// Between watch() and unwatch() the client's leaving asks `stop`, wakes, and cancels what `other` waits for.
  void watch(std::stop_source& stop);
  void unwatch();
  bool left() const { return left_; }
  bool aborted() const { return aborted_; }

  void expect_within(std::chrono::milliseconds limit) {
    deadline_ = base::steady_now() + limit;
    expired_ = false;
    untaken_ = 0;
  }
  /// That the client takes something of what waits for it, again and again: a socket is writable only when much of its
  /// buffer is free, which a slow reader takes minutes for.
  void expect_taking();
  void expect_nothing() { deadline_ = base::SteadyTime::max(); }
  bool expired() const { return expired_; }
  void check_deadline(base::SteadyTime now);
  /// The end of this connection whatever it does; true if it was in the middle of an exchange.
  bool abort();

  Loop& loop() { return loop_; }
  tcp::socket& socket() { return socket_; }
  std::string peer() const;
  bool tls() const { return tls_ != nullptr; }

  boost::beast::flat_buffer input;
  bool idle = true;              // waits for the first byte of a request
  tcp::socket* other = nullptr;  // the socket to another server that this exchange also waits for

 private:
  struct Signal;
  using Transferred = std::tuple<boost::system::error_code, size_t>;
  awaitable<Transferred> read_some(asio::mutable_buffer space);
  awaitable<Transferred> write_some(std::array<asio::const_buffer, 2> buffers);
  void look();
  bool peer_closed();
  int bytes_untaken();
  bool still_takes(base::SteadyTime now);
  awaitable<bool> send_file_plain(const FileRange& range);
  awaitable<bool> send_file_encrypted(const FileRange& range);

  Loop& loop_;
  tcp::socket socket_;
  std::shared_ptr<asio::ssl::context> tls_context_;
  std::unique_ptr<asio::ssl::stream<tcp::socket&>> tls_;
  Event event_;
  asio::steady_timer recheck_;
  base::SteadyTime deadline_ = base::SteadyTime::max();
  int untaken_ = 0;  // bytes that wait for the client, of which it is to take some by the deadline
  base::SteadyTime last_taken_;
  std::stop_source* watched_ = nullptr;
  bool left_ = false, expired_ = false, aborted_ = false;
  std::shared_ptr<Signal> signal_;
};

}  // namespace textmill::http::detail
