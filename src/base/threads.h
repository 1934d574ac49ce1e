#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>

namespace textmill::base {

/// A thread under a name that ps, gdb and /proc show (the first 15 bytes). The body sees the jthread's stop
/// token.
std::jthread start_thread(const std::string& name, std::function<void(std::stop_token)> body);

/// Work on a thread of its own, which calls `then` once its result is there. Destroying waits for it.
template <class T>
class Work {
 public:
  Work(std::function<T()> work, std::function<void()> then)
      : thread_([this, work = std::move(work), then = std::move(then)] {
          result_ = work();
          done_.store(true, std::memory_order_release);
          then();
        }) {}
  /// Null: not yet.
  const T* result() const { return done_.load(std::memory_order_acquire) ? &result_ : nullptr; }

 private:
  T result_{};
  std::atomic<bool> done_ = false;
  std::jthread thread_;  // last: it uses the others
};

/// First in, first out, never more than `capacity` items. After close() nothing goes in, and what is in comes
/// out.
template <class T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t capacity) : capacity_(capacity) {}

  /// Waits while the queue is full. False, and `item` as it was, once the queue is closed or `stop` is asked.
  bool push(T&& item, std::stop_token stop = {}) {
    std::unique_lock lock(mutex_);
    bool room = changed_.wait(lock, stop, [&] { return closed_ || items_.size() < capacity_; });
    return room && put(std::move(item));
  }

  /// False, and `item` as it was, when the queue is full or closed.
  bool try_push(T&& item) {
    std::lock_guard lock(mutex_);
    return items_.size() < capacity_ && put(std::move(item));
  }

  /// Waits for an item. Nothing once the queue is closed and empty, or `stop` is asked.
  std::optional<T> pop(std::stop_token stop = {}) {
    std::unique_lock lock(mutex_);
    bool ready = changed_.wait(lock, stop, [&] { return closed_ || !items_.empty(); });
    return ready ? take() : std::nullopt;
  }

  std::optional<T> try_pop() {
    std::lock_guard lock(mutex_);
    return take();
  }

  void close() {
    std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }

  size_t size() const {
    std::lock_guard lock(mutex_);
    return items_.size();
  }
  size_t capacity() const { return capacity_; }

 private:
  bool put(T&& item) {
    if (closed_) return false;
    items_.push_back(std::move(item));
    changed_.notify_all();
    return true;
  }

  std::optional<T> take() {
    if (items_.empty()) return std::nullopt;
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    changed_.notify_all();
    return item;
  }

  const size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<T> items_;
  bool closed_ = false;
};

}  // namespace textmill::base
