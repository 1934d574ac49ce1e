#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "base/log.h"
#include "http/detail/session.h"

namespace textmill::http::detail {
namespace {

constexpr uint64_t kSmallFile = 64 << 10;

bool fit_for_a_head(const Headers::Field& field) {
  auto bad = [](char c) { return c == '\r' || c == '\n' || c == '\0'; };
  return !field.first.empty() &&
         std::ranges::none_of(field.first, [&](char c) { return bad(c) || c == ':' || c == ' '; }) &&
         std::ranges::none_of(field.second, bad);
}

/// The server decides these.
bool framing(std::string_view name) {
  return same_name(name, "Content-Length") || same_name(name, "Transfer-Encoding") ||
         same_name(name, "Connection") || same_name(name, "Date");
}

bool without_body(int status) { return status == 204 || status == 304; }

void add_field(std::string& head, std::string_view name, std::string_view value) {
  head.append(name).append(": ").append(value).append("\r\n");
}

/// Holds small packets back until it ends, so that a head travels with what follows.
class Cork {
 public:
  explicit Cork(int fd) : fd_(fd) { set(1); }
  ~Cork() { set(0); }

 private:
  void set(int on) { ::setsockopt(fd_, IPPROTO_TCP, TCP_CORK, &on, sizeof on); }
  int fd_;
};

}  // namespace

void add_chunk(std::string& out, std::string_view piece, bool last) {
  char digits[20];
  auto end = std::to_chars(digits, digits + sizeof digits, piece.size(), 16).ptr;
  if (!piece.empty()) out.append(digits, end).append("\r\n").append(piece).append("\r\n");
  if (last) out += "0\r\n\r\n";
}

awaitable<bool> Session::answer() {
  if (!std::holds_alternative<std::string>(response_.body)) connection_.watch(stop_);
  for (;;) {
    Step step = Step::answer;
    if (std::holds_alternative<Later>(response_.body))
      step = co_await resolve_later();
    else if (std::holds_alternative<Forward>(response_.body))
      step = co_await forward();
    else
      break;
    if (step == Step::gone) co_return false;
    if (step == Step::answer) co_return true;
  }
  if (!std::ranges::all_of(response_.headers, fit_for_a_head)) {
    base::log(base::Level::error, "bad_answer_header",
              {{"request_id", request_.id}, {"target", request_.target}});
    refuse(500, {base::Kind::internal, "internal error"});
  }
  if (std::holds_alternative<FileRange>(response_.body)) co_return co_await send_range();
  if (std::holds_alternative<Stream>(response_.body)) co_return co_await send_stream();
  co_return co_await send_bytes();
}

awaitable<Session::Step> Session::resolve_later() {
  const auto later = std::get<Later>(std::move(response_.body));
  const auto waker = connection_.waker();
  connection_.expect_nothing();
  for (;;) {
    Response fresh;
    bool ready = true;
    try {
      ready = later.poll(fresh, waker);
    } catch (const std::exception&) { fresh = service_.failed(request_, std::current_exception()); }
    if (ready) {
      response_ = std::move(fresh);
      co_return Step::go_on;
    }
    if (connection_.aborted()) co_return Step::gone;
    co_await connection_.wait();
  }
}

std::string Session::head(std::optional<uint64_t> length) {
  keep_alive_ = keep_alive_ && !service_.draining && (length || chunked());
  std::string head = "HTTP/1.1 " + std::to_string(response_.status) + ' ';
  head.append(reason(response_.status)).append("\r\n");
  for (const auto& field : response_.headers) {
    if (!framing(field.first)) add_field(head, field.first, field.second);
  }
  add_field(head, service_.options.request_id_header, request_.id);
  add_field(head, "Date", loop_.date());
  auto of_head = request_.method == "HEAD" ? response_.headers.find("Content-Length") : std::nullopt;
  if (of_head)
    add_field(head, "Content-Length", *of_head);
  else if (length && !without_body(response_.status))
    add_field(head, "Content-Length", std::to_string(*length));
  else if (!length && chunked())
    add_field(head, "Transfer-Encoding", "chunked");
  if (!keep_alive_)
    add_field(head, "Connection", "close");
  else if (request_.version < 11)
    add_field(head, "Connection", "keep-alive");
  return head += "\r\n";
}

awaitable<bool> Session::send_bytes() {
  const auto body = std::get<std::string>(std::move(response_.body));
  const bool bare = request_.method == "HEAD" || without_body(response_.status);
  const std::string start = head(body.size());
  sent_ = bare ? 0 : body.size();
  co_return co_await connection_.write(start, bare ? std::string_view() : body);
}

awaitable<bool> Session::send_range() {
  const auto range = std::get<FileRange>(std::move(response_.body));
  const std::string start = head(range.length);
  if (request_.method == "HEAD") co_return co_await connection_.write(start);
  sent_ = range.length;
  if (range.length <= kSmallFile) {
    std::string body(range.length, '\0');
    ssize_t n = ::pread(range.file->fd(), body.data(), body.size(), static_cast<off_t>(range.offset));
    if (n < 0 || static_cast<size_t>(n) != body.size()) co_return false;
    co_return co_await connection_.write(start, body);
  }
  Cork cork(connection_.socket().native_handle());
  bool written = co_await connection_.write(start);
  if (written) written = co_await connection_.send_file(range);
  co_return written;
}

awaitable<bool> Session::send_stream() {
  const auto stream = std::get<Stream>(std::move(response_.body));
  const bool in_chunks = !stream.length && chunked();
  const auto waker = connection_.waker();
  std::string out = head(stream.length), piece;
  if (request_.method == "HEAD") co_return co_await connection_.write(out);
  for (auto pull = Stream::Pull::more; pull != Stream::Pull::end && !connection_.left();) {
    piece.clear();
    try {
      pull = stream.pull(piece, waker);
    } catch (const std::exception& error) {
      base::log(base::Level::error, "stream_failed", {{"request_id", request_.id}, {"error", error.what()}});
      co_return false;
    }
    sent_ += piece.size();
    if (in_chunks)
      add_chunk(out, piece, pull == Stream::Pull::end);
    else
      out += piece;
    bool written = co_await connection_.write(out);
    if (!written) co_return false;
    out.clear();
    connection_.expect_nothing();
    if (pull == Stream::Pull::wait) co_await connection_.wait();
  }
  co_return !connection_.left() && (!stream.length || *stream.length == sent_);
}

}  // namespace textmill::http::detail
