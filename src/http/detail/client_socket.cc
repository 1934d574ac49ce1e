#include "http/detail/client_socket.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <utility>

#include "base/error.h"

namespace textmill::http::detail {
namespace {

constexpr size_t kTlsRead = 32 << 10;

/// A descriptor that becomes readable when the stop is asked.
class StopEvent {
 public:
  explicit StopEvent(const std::stop_token& stop)
      : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), callback_(stop, [this] { ::eventfd_write(fd_, 1); }) {}
  ~StopEvent() { ::close(fd_); }
  int fd() const { return fd_; }

 private:
  int fd_;
  std::stop_callback<std::function<void()>> callback_;
};

struct Addresses {
  ~Addresses() { ::freeaddrinfo(first); }
  addrinfo* first = nullptr;
};

}  // namespace

ClientSocket::ClientSocket(const std::string& host, const std::string& port, SSL_CTX* tls, Limits limits,
                           std::stop_token stop)
    : where_(host + ":" + port), limits_(limits), stop_(std::move(stop)) {
  try {
    connect(host, port);
    if (tls) start_tls(tls, host);
  } catch (...) {  // the destructor of an unfinished object does not run
    if (fd_ >= 0) ::close(fd_);
    throw;
  }
}

ClientSocket::~ClientSocket() { ::close(fd_); }

void ClientSocket::connect(const std::string& host, const std::string& port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  Addresses found;
  if (int code = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found.first); code != 0)
    broken(std::string("cannot find it: ") + ::gai_strerror(code));
  int error = 0;
  for (auto* address = found.first; address; address = address->ai_next) {
    fd_ = ::socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd_ < 0) throw base::system_error("cannot open a socket", errno);
    if (::connect(fd_, address->ai_addr, address->ai_addrlen) == 0 || errno == EINPROGRESS) {
      wait(POLLOUT, limits_.connect);
      socklen_t size = sizeof error;
      ::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size);
      int on = 1;
      ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      if (error == 0) return;
    } else {
      error = errno;
    }
    ::close(std::exchange(fd_, -1));
  }
  broken(std::string("cannot connect: ") + std::strerror(error));
}

void ClientSocket::start_tls(SSL_CTX* context, const std::string& host) {
  tls_.reset(SSL_new(context));
  SSL* tls = tls_.get();
  SSL_set_bio(tls, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls), host.c_str()) != 1) {
    SSL_set1_host(tls, host.c_str());
    SSL_set_tlsext_host_name(tls, host.c_str());
  }
  for (int result; (result = SSL_connect(tls)) != 1;)
    if (!pump(result)) broken("it closed the connection during the TLS handshake");
  pump(1);
}

size_t ClientSocket::read(char* space, size_t size) {
  if (!tls_) return receive(space, size);
  for (;;) {
    int n = SSL_read(tls_.get(), space, static_cast<int>(size));
    if (n > 0) return static_cast<size_t>(n);
    if (!pump(n)) return 0;
  }
}

void ClientSocket::write(std::string_view bytes) {
  if (!tls_) return transmit(bytes);
  while (!bytes.empty()) {
    int n = SSL_write(tls_.get(), bytes.data(), static_cast<int>(std::min(bytes.size(), kTlsRead)));
    if (!pump(n)) broken("it closed the connection");
    if (n > 0) bytes.remove_prefix(static_cast<size_t>(n));
  }
}

bool ClientSocket::still_idle() const {
  char byte;
  return ::recv(fd_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

bool ClientSocket::pump(int result) {
  const int error = result > 0 ? SSL_ERROR_NONE : SSL_get_error(tls_.get(), result);
  char* said = nullptr;
  BIO* out = SSL_get_wbio(tls_.get());
  if (long size = BIO_get_mem_data(out, &said); size > 0) {
    transmit({said, static_cast<size_t>(size)});
    BIO_reset(out);
  }
  if (error == SSL_ERROR_NONE) return true;
  if (error == SSL_ERROR_ZERO_RETURN) return false;
  if (error != SSL_ERROR_WANT_READ) {
    const long verdict = SSL_get_verify_result(tls_.get());
    char text[256] = "TLS failed";
    if (auto code = ::ERR_get_error()) ::ERR_error_string_n(code, text, sizeof text);
    ::ERR_clear_error();
    broken(verdict == X509_V_OK ? text
                                : std::string("its certificate: ") + X509_verify_cert_error_string(verdict));
  }
  char block[kTlsRead];
  size_t n = receive(block, sizeof block);
  if (n > 0) BIO_write(SSL_get_rbio(tls_.get()), block, static_cast<int>(n));
  return n > 0;
}

size_t ClientSocket::receive(char* space, size_t size) {
  for (;;) {
    ssize_t n = ::recv(fd_, space, size, 0);
    if (n >= 0) return static_cast<size_t>(n);
    if (errno == EAGAIN)
      wait(POLLIN, limits_.idle);
    else if (errno != EINTR)
      broken(std::strerror(errno));
  }
}

void ClientSocket::transmit(std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n >= 0)
      bytes.remove_prefix(static_cast<size_t>(n));
    else if (errno == EAGAIN)
      wait(POLLOUT, limits_.idle);
    else if (errno != EINTR)
      broken(std::strerror(errno));
  }
}

void ClientSocket::wait(short events, std::chrono::milliseconds limit) const {
  StopEvent stop(stop_);
  pollfd waiting[] = {{fd_, events, 0}, {stop.fd(), POLLIN, 0}};
  const int ready = ::poll(waiting, 2, static_cast<int>(limit.count()));
  if (ready < 0 && errno != EINTR) broken(std::strerror(errno));
  if (ready == 0)
    throw base::Error(base::Kind::cancelled,
                      where_ + ": nothing for " + std::to_string(limit.count()) + " ms");
  if (waiting[1].revents) throw base::Error(base::Kind::cancelled, where_ + ": asked to stop");
}

void ClientSocket::broken(const std::string& why) const {
  throw base::Error(base::Kind::unavailable, where_ + ": " + why);
}

}  // namespace textmill::http::detail
