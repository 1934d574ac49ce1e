#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <stop_token>
#include <thread>
#include <vector>

#include "tasks/packed.h"

namespace textmill::serve {

/// The sequences of one request, on their way through the model.
class Ticket {
 public:
  explicit Ticket(std::vector<tasks::PackedItem> items, std::stop_token left = {})
      : items(std::move(items)), left(std::move(left)), missing_(this->items.size()) {}

  using Clock = std::chrono::steady_clock;

  /// True when all is done; otherwise `waker` is called once it is.
  bool done_or(const std::function<void()>& waker);
  /// [items, width]; rethrows what the model threw. Only when done, and nothing if the client left.
  const std::vector<float>& outputs() const;
  // When the first of its items came to the model, and when the last was done. Only when done.
  Clock::time_point started() const { return started_; }
  Clock::time_point finished() const { return finished_; }

  const std::vector<tasks::PackedItem> items;
  const std::stop_token left;  // asked when the client is gone: nobody needs the answer

 private:
  friend class Batcher;
  void finish(size_t count, const std::exception_ptr& error);

  mutable std::mutex mutex_;
  size_t missing_;
  // Written by the batcher's thread, read when nothing is missing.
  std::vector<float> outputs_;
  Clock::time_point started_, finished_;
  std::exception_ptr error_;
  std::function<void()> waker_;
};

struct BatcherOptions {
  int64_t max_batch_tokens = 4096;
  size_t max_queue = 512;  // sequences
};

/// A bounded queue before a model, and the one thread that runs it.
class Batcher {
 public:
  /// Fills [items, width]; runs on the batcher's thread alone.
  using Run = std::function<void(std::span<const tasks::PackedItem* const>, std::vector<float>&)>;

  Batcher(Run run, int width, const BatcherOptions& options);
  /// Finishes what is queued.
  ~Batcher();

  /// Queues all sequences of the ticket. Throws limit if they do not fit now, unavailable after close().
  void submit(const std::shared_ptr<Ticket>& ticket);
  /// No more tickets; what is queued is finished.
  void close();
  /// What waits is not finished: its tickets throw unavailable. What runs goes on.
  void refuse_waiting();
  size_t queued() const;
  size_t capacity() const { return options_.max_queue; }

 private:
  struct Entry {
    std::shared_ptr<Ticket> ticket;
    size_t item;
  };
  bool take(std::vector<Entry>& batch);
  void run_batch(std::span<const Entry> batch);
  void work();

  const Run run_;
  const size_t width_;
  const BatcherOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Entry> queue_;
  bool closed_ = false;
  std::vector<const tasks::PackedItem*> items_;  // of the batch that runs
  std::vector<float> outputs_;
  std::jthread thread_;
};

}  // namespace textmill::serve
