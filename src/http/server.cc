#include "http/server.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <future>
#include <latch>
#include <utility>

#include "base/log.h"
#include "base/threads.h"
#include "http/detail/connection.h"
#include "http/detail/loop.h"

namespace textmill::http {

using detail::asio::ip::tcp;
namespace asio = detail::asio;

namespace {

constexpr std::chrono::milliseconds kAcceptPause{50};

/// With no more connections than this process may hold: each is a descriptor, and what it asks for may be another.
/// Raises the limit on descriptors as far as that takes.
ServerOptions fitting(ServerOptions options) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return options;
  rlim_t all = std::min<rlim_t>(limit.rlim_max, 2 * options.max_connections + 256);
  if (limit.rlim_cur < all) {
    limit.rlim_cur = all;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    ::getrlimit(RLIMIT_NOFILE, &limit);
  }
  options.max_connections = std::min<size_t>(options.max_connections, limit.rlim_cur - limit.rlim_cur / 4);
  return options;
}

/// sendfile has no MSG_NOSIGNAL: to a client that is gone it would end the process. For this thread alone: programs that
/// others start inherit nothing.
void block_sigpipe() {
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
}

/// To a connection too many.
std::string crowded(int status) {
  return fmt::format(
      "HTTP/1.1 {} Too many connections\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
      status);
}

tcp::acceptor bind(asio::io_context& context, const std::string& host, uint16_t port) {
  const std::string where = host + ":" + std::to_string(port);
  boost::system::error_code code;
  auto address = asio::ip::make_address(host == "localhost" ? "127.0.0.1" : host, code);
  if (code) throw base::Error(base::Kind::invalid, where + " is neither a numeric address nor localhost");
  tcp::acceptor acceptor(context);
  acceptor.open(tcp::endpoint(address, port).protocol());
  acceptor.set_option(tcp::acceptor::reuse_address(true));
  acceptor.bind({address, port}, code);
  if (!code) acceptor.listen(asio::socket_base::max_listen_connections, code);
  if (code) throw base::system_error("cannot listen on " + where, code.value());
  return acceptor;
}

}  // namespace

struct Server::State {
  State(ServerOptions options, Dispatch dispatch)
      : service(fitting(std::move(options)), std::move(dispatch)) {}

  asio::awaitable<void> accept_all();
  /// Runs on each loop's thread; returns when all have.
  template <class Function>
  void on_each_loop(Function function);

  detail::Service service;
  std::vector<std::unique_ptr<detail::Loop>> loops;
  std::optional<tcp::acceptor> acceptor;  // of the first loop
  uint16_t port = 0;
  std::vector<asio::executor_work_guard<asio::io_context::executor_type>> guards;
  std::vector<std::jthread> threads;
};

asio::awaitable<void> Server::State::accept_all() {
  asio::steady_timer pause(loops[0]->context);
  bool failing = false;
  for (size_t next = 0; !service.draining; next = (next + 1) % loops.size()) {
    auto& loop = *loops[next];
    auto [code, socket] = co_await acceptor->async_accept(loop.context, detail::kTuple);
    if (code == asio::error::operation_aborted || code == asio::error::bad_descriptor) co_return;
    if (code) {  // such as no descriptor left: those that are open go on
      if (!std::exchange(failing, true))
        base::log(base::Level::warning, "accept_failed", {{"error", code.message()}});
      pause.expires_after(kAcceptPause);
      co_await pause.async_wait(detail::kTuple);
      continue;
    }
    failing = false;
    if (service.connections() >= service.options.max_connections) {
      boost::system::error_code ignored;
      socket.native_non_blocking(true, ignored);
      if (!service.options.tls)
        socket.send(asio::buffer(crowded(service.options.crowded_status)), 0, ignored);
    } else if (next == 0) {
      loop.start(std::move(socket));
    } else {
      asio::post(loop.context,
                 [&loop, socket = std::move(socket)]() mutable { loop.start(std::move(socket)); });
    }
  }
}

template <class Function>
void Server::State::on_each_loop(Function function) {
  std::latch done(static_cast<ptrdiff_t>(loops.size()));
  for (auto& loop : loops)
    asio::post(loop->context, [&] {
      function(*loop);
      done.count_down();
    });
  done.wait();
}

Server::Server(ServerOptions options, Dispatch dispatch)
    : state_(std::make_unique<State>(std::move(options), std::move(dispatch))) {
  const auto& o = state_->service.options;
  for (int i = 0; i < o.io_threads; ++i) {
    state_->loops.push_back(std::make_unique<detail::Loop>(state_->service));
    state_->guards.push_back(asio::make_work_guard(state_->loops.back()->context));
  }
  auto& first = state_->loops[0]->context;
  state_->acceptor = bind(first, o.host, o.port);
  state_->port = state_->acceptor->local_endpoint().port();
  asio::co_spawn(first, state_->accept_all(), asio::detached);
  for (auto& loop : state_->loops)
    state_->threads.push_back(base::start_thread("http-io", [context = &loop->context](std::stop_token) {
      block_sigpipe();
      context->run();
    }));
}

Server::~Server() {
  drain(std::chrono::milliseconds(0));
  state_->guards.clear();
  for (auto& loop : state_->loops) loop->context.stop();
  state_->threads.clear();
}

uint16_t Server::port() const { return state_->port; }

size_t Server::connections() const { return state_->service.connections(); }

bool Server::drain(std::chrono::milliseconds limit) {
  auto& service = state_->service;
  service.draining = true;
  state_->on_each_loop([&](detail::Loop& loop) {
    boost::system::error_code ignored;
    if (&loop == state_->loops[0].get()) state_->acceptor->close(ignored);
    loop.drain();
  });
  if (service.wait_until_closed(limit)) return true;
  std::atomic<size_t> cut = 0;
  state_->on_each_loop([&](detail::Loop& loop) { cut += loop.abort(); });
  service.wait_until_closed();
  return cut == 0;
}

void Server::reload_tls() {
  if (state_->service.options.tls) state_->service.load_tls();
}

}  // namespace textmill::http
