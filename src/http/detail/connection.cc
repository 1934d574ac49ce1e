#include "http/detail/connection.h"

#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"

namespace textmill::http::detail {
namespace {

constexpr size_t kMaxInput = 1 << 20;
constexpr size_t kTlsRecord = 16 << 10;
constexpr std::chrono::seconds kLinger{5};
constexpr std::chrono::seconds kRecheck{1};

}  // namespace

awaitable<void> Event::wait() {
  if (!set_) {
    timer_.expires_at(base::SteadyTime::max());
    co_await timer_.async_wait(kTuple);
  }
  set_ = false;
}

void Event::set() {
  set_ = true;
  timer_.cancel();
}

/// What wakers hold: the connection while it listens.
struct Connection::Signal {
  std::mutex mutex;
  Connection* connection;
  bool posted = false;
};

Connection::Connection(Loop& loop, tcp::socket socket, std::shared_ptr<asio::ssl::context> tls)
    : input(kMaxInput),
      loop_(loop),
      socket_(std::move(socket)),
      tls_context_(std::move(tls)),
      event_(loop.context),
      recheck_(loop.context) {
  if (tls_context_) tls_ = std::make_unique<asio::ssl::stream<tcp::socket&>>(socket_, *tls_context_);
  boost::system::error_code ignored;
  socket_.set_option(tcp::no_delay(true), ignored);
  socket_.native_non_blocking(true, ignored);
  loop_.add(*this);
}

Connection::~Connection() { loop_.remove(*this); }

awaitable<bool> Connection::handshake() {
  if (!tls_) co_return true;
  expect_within(loop_.service.options.header_timeout);
  auto [code] = co_await tls_->async_handshake(asio::ssl::stream_base::server, kTuple);
  co_return !code;
}

awaitable<Connection::Transferred> Connection::read_some(asio::mutable_buffer space) {
  return tls_ ? tls_->async_read_some(space, kTuple) : socket_.async_read_some(space, kTuple);
}

awaitable<Connection::Transferred> Connection::write_some(std::array<asio::const_buffer, 2> buffers) {
  return tls_ ? tls_->async_write_some(buffers, kTuple) : socket_.async_write_some(buffers, kTuple);
}

awaitable<bool> Connection::read(size_t most) {
  auto space = input.prepare(std::min(most, input.max_size() - input.size()));
  auto [code, n] = co_await read_some(space);
  input.commit(n);
  co_return n > 0;
}

awaitable<size_t> Connection::read_into(std::span<char> space) {
  auto [code, n] = co_await read_some(asio::buffer(space.data(), space.size()));
  co_return n;
}

awaitable<bool> Connection::write(std::string_view first, std::string_view second) {
  std::string joined;
  if (tls_ && first.size() + second.size() <= kTlsRecord) {
    joined.append(first).append(second);
    first = joined, second = {};
  }
  while (!first.empty() || !second.empty()) {
    expect_taking();
    auto [code, n] = co_await write_some({asio::buffer(first), asio::buffer(second)});
    if (code) co_return false;
    size_t of_first = std::min(n, first.size());
    first.remove_prefix(of_first);
    second.remove_prefix(n - of_first);
  }
  co_return true;
}

awaitable<bool> Connection::send_file(const FileRange& range) {
  return tls_ ? send_file_encrypted(range) : send_file_plain(range);
}

awaitable<bool> Connection::send_file_plain(const FileRange& range) {
  auto offset = static_cast<off_t>(range.offset);
  const auto end = static_cast<off_t>(range.offset + range.length);
  while (offset < end) {
    ssize_t n =
        ::sendfile(socket_.native_handle(), range.file->fd(), &offset, static_cast<size_t>(end - offset));
    if (n > 0 || (n < 0 && errno == EINTR)) continue;
    if (n == 0 || errno != EAGAIN) co_return false;  // the file has shrunk, or the client is gone
    expect_taking();
    auto [code] = co_await socket_.async_wait(tcp::socket::wait_write, kTuple);
    if (code) co_return false;
  }
  co_return true;
}

awaitable<bool> Connection::send_file_encrypted(const FileRange& range) {
  std::string block;
  for (uint64_t sent = 0; sent < range.length; sent += block.size()) {
    block.resize(std::min<uint64_t>(range.length - sent, Spool::kBlock));
    ssize_t n = 0;
    auto work = start(loop_.service.disk, [&] {
      n = ::pread(range.file->fd(), block.data(), block.size(), static_cast<off_t>(range.offset + sent));
    });
    co_await finish(*work);
    if (n <= 0) co_return false;
    block.resize(static_cast<size_t>(n));
    bool written = co_await write(block);
    if (!written) co_return false;
  }
  co_return true;
}

awaitable<void> Connection::linger() {
  expect_within(kLinger);
  boost::system::error_code ignored;
  if (tls_) {
    co_await tls_->async_shutdown(kTuple);
  } else {
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    bool more = true;
    while (more) {
      input.clear();
      more = co_await read(kMaxInput);
    }
  }
}

void Connection::close() {
  unwatch();
  silence();
  boost::system::error_code ignored;
  socket_.close(ignored);
}

std::shared_ptr<Connection::Work> Connection::start(Workers& workers, std::function<void()> run,
                                                    bool may_be_refused) {
  auto work = std::make_shared<Work>();
  auto task = [self = shared_from_this(), work, run = std::move(run)]() mutable {
    try {
      run();
    } catch (...) { work->error = std::current_exception(); }
    // The connection must not die on this thread, so the reference goes along.
    auto& context = self->loop_.context;
    asio::post(context, [self = std::move(self), work = std::move(work)] {
      work->done = true;
      self->event_.set();
    });
  };
  if (!may_be_refused)
    workers.submit(std::move(task));
  else if (!workers.try_submit(std::move(task)))
    return nullptr;
  return work;
}

awaitable<void> Connection::finish(const Work& work) {
  expect_nothing();
  while (!work.done) co_await event_.wait();
}

Waker Connection::waker() {
  if (!signal_) {
    signal_ = std::make_shared<Signal>();
    signal_->connection = this;
  }
  return [signal = signal_] {
    std::lock_guard lock(signal->mutex);
    if (!signal->connection || signal->posted) return;
    signal->posted = true;
    asio::post(signal->connection->loop_.context, [self = signal->connection->shared_from_this(), signal] {
      std::unique_lock relock(signal->mutex);
      signal->posted = false;
      relock.unlock();
      self->event_.set();
    });
  };
}

void Connection::silence() {
  auto signal = std::exchange(signal_, nullptr);
  if (!signal) return;
  std::lock_guard lock(signal->mutex);
  signal->connection = nullptr;
}

void Connection::watch(std::stop_source& stop) {
  if (watched_) return;
  watched_ = &stop;
  look();
}

void Connection::unwatch() {
  if (!watched_) return;
  watched_ = nullptr;
  boost::system::error_code ignored;
  socket_.cancel(ignored);
  recheck_.cancel();
}

void Connection::look() {
  socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](boost::system::error_code code) {
    if (!self->watched_ || code == asio::error::operation_aborted) return;
    if (code || self->peer_closed()) {
      self->left_ = true;
      self->watched_->request_stop();
      self->event_.set();
      boost::system::error_code ignored;
      if (self->other) self->other->cancel(ignored);
      return;
    }
    // The next request is already here, which hides the end behind it: look again from time to time.
    self->recheck_.expires_after(kRecheck);
    self->recheck_.async_wait([self](boost::system::error_code stopped) {
      if (!stopped && self->watched_) self->look();
    });
  });
}

bool Connection::peer_closed() {
  char byte;
  ssize_t n = ::recv(socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) return true;
  tcp_info info{};
  socklen_t size = sizeof info;
  return ::getsockopt(socket_.native_handle(), IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
         info.tcpi_state == TCP_CLOSE_WAIT;
}

int Connection::bytes_untaken() {
  int bytes = 0;
  return ::ioctl(socket_.native_handle(), SIOCOUTQ, &bytes) == 0 ? bytes : 0;
}

void Connection::expect_taking() {
  expect_within(loop_.service.options.stall_timeout);
  untaken_ = bytes_untaken();
  last_taken_ = base::steady_now();
}

/// Its kernel took something, or is full and says so when it is asked.
bool Connection::still_takes(base::SteadyTime now) {
  if (int left = bytes_untaken(); left < untaken_) {
    untaken_ = left;
    last_taken_ = now;
    return true;
  }
  tcp_info info{};
  socklen_t size = sizeof info;
  bool answers = ::getsockopt(socket_.native_handle(), IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
                 info.tcpi_state == TCP_ESTABLISHED && info.tcpi_retransmits == 0 && info.tcpi_probes <= 1;
  return answers && now < last_taken_ + loop_.service.options.taking_timeout;
}

void Connection::check_deadline(base::SteadyTime now) {
  if (now < deadline_) return;
  if (untaken_ > 0 && still_takes(now)) {
    deadline_ = now + loop_.service.options.stall_timeout;
    return;
  }
  expired_ = true;
  deadline_ = base::SteadyTime::max();
  boost::system::error_code ignored;
  socket_.cancel(ignored);
  if (other) other->cancel(ignored);
  event_.set();
}

bool Connection::abort() {
  left_ = aborted_ = true;
  if (watched_) watched_->request_stop();
  close();
  boost::system::error_code ignored;
  if (other) other->close(ignored);
  event_.set();
  return !idle;
}

std::string Connection::peer() const {
  boost::system::error_code ignored;
  return socket_.remote_endpoint(ignored).address().to_string();
}

}  // namespace textmill::http::detail
