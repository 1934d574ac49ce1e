#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace textmill::http::detail {

/// Threads that run blocking work, first come first served. The destructor finishes what waits, then joins.
class Workers {
 public:
  Workers(const std::string& name, int threads, size_t max_waiting);
  Workers(const Workers&) = delete;
  ~Workers();

  /// False when `max_waiting` wait already.
  bool try_submit(std::function<void()> work);
  /// For the work of a request that was let in already: its number is bounded by the number of connections.
  void submit(std::function<void()> work);

 private:
  void run();

  const size_t max_waiting_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> waiting_;
  bool closed_ = false;
  std::vector<std::jthread> threads_;
};

}  // namespace textmill::http::detail
