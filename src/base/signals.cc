#include "base/signals.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "base/error.h"
#include "base/log.h"
#include "base/threads.h"

namespace textmill::base {
namespace {

void raise_event(const Descriptor& event) {
  uint64_t one = 1;
  TEXTMILL_CHECK(::write(event.get(), &one, sizeof one) == sizeof one);
}

void wait_for(pollfd* fds, size_t count) {
  while (::poll(fds, count, -1) < 0) {
    if (errno != EINTR) throw system_error("poll", errno);
  }
}

}  // namespace

StopSignals::StopSignals() {
  sigemptyset(&set_);
  sigaddset(&set_, SIGTERM);
  sigaddset(&set_, SIGINT);
  struct sigaction hangup {};
  ::sigaction(SIGHUP, nullptr, &hangup);
  if (hangup.sa_handler != SIG_IGN) sigaddset(&set_, SIGHUP);  // nohup ignores it
  ::pthread_sigmask(SIG_BLOCK, &set_, &before_);
  event_ = Descriptor(::eventfd(0, EFD_CLOEXEC));
  end_ = Descriptor(::eventfd(0, EFD_CLOEXEC));
  signals_ = Descriptor(::signalfd(-1, &set_, SFD_CLOEXEC));
  if (!event_ || !end_ || !signals_) throw system_error("signals", errno);
  thread_ = start_thread("signals", [this](const std::stop_token&) { watch(); });
}

StopSignals::~StopSignals() {
  raise_event(end_);
  thread_.join();
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

void StopSignals::wait() const {
  pollfd fd{event_.get(), POLLIN, 0};
  wait_for(&fd, 1);
}

void StopSignals::watch() {
  while (true) {
    pollfd fds[] = {{signals_.get(), POLLIN, 0}, {end_.get(), POLLIN, 0}};
    wait_for(fds, 2);
    if (fds[1].revents) return;
    signalfd_siginfo info;
    if (::read(signals_.get(), &info, sizeof info) != sizeof info) continue;
    // From here a signal interrupts this thread, even one that is stuck in a callback of the stop token.
    for (int signal : {SIGTERM, SIGINT}) std::signal(signal, [](int number) { ::_exit(128 + number); });
    std::signal(SIGHUP, SIG_IGN);  // a terminal that closes may say so twice
    ::pthread_sigmask(SIG_UNBLOCK, &set_, nullptr);
    log(Level::info, "stop_requested", {{"signal", info.ssi_signo}, {"from_pid", info.ssi_pid}});
    signal_ = static_cast<int>(info.ssi_signo);
    raise_event(event_);
    source_.request_stop();
    wait_for(&fds[1], 1);
    return;
  }
}

}  // namespace textmill::base
