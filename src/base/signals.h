#pragma once

#include <atomic>
#include <csignal>
#include <stop_token>
#include <thread>

#include "base/files.h"

namespace textmill::base {

/// SIGTERM, SIGINT and SIGHUP (unless it was ignored) as a stop token. Made once, in main, before any other thread starts
/// (it blocks them, and threads inherit that). The first signal asks for the stop; a second SIGTERM or SIGINT ends the
/// process at once with 128 + its number.
class StopSignals {
 public:
  StopSignals();
  StopSignals(const StopSignals&) = delete;
  ~StopSignals();

  std::stop_token token() const { return source_.get_token(); }
  /// Becomes readable, for good, when the stop is asked: for poll() beside other descriptors.
  int fd() const { return event_.get(); }
  /// The signal that asked for the stop; 0 while none has.
  int signal() const { return signal_; }
  /// Blocks until the stop is asked.
  void wait() const;

 private:
  void watch();

  std::stop_source source_;
  std::atomic<int> signal_ = 0;
  sigset_t set_, before_;
  Descriptor event_, end_, signals_;
  std::jthread thread_;
};

}  // namespace textmill::base
