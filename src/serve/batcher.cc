#include "serve/batcher.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/metrics.h"
#include "base/threads.h"

namespace textmill::serve {
namespace {

base::Gauge& queue_gauge() {
  return base::metrics().gauge("textmill_queue_sequences", "Sequences that wait for the model.");
}
base::Histogram& batch_histogram() {
  return base::metrics().histogram("textmill_batch_sequences", "Sequences that ran together.",
                                   {1, 2, 4, 8, 16, 32, 64, 128, 256});
}
base::Counter& token_counter() {
  return base::metrics().counter("textmill_tokens_total", "Tokens that the model has read.");
}

}  // namespace

// ---- tickets

bool Ticket::done_or(const std::function<void()>& waker) {
  std::lock_guard lock(mutex_);
  if (missing_ > 0) waker_ = waker;
  return missing_ == 0;
}

const std::vector<float>& Ticket::outputs() const {
  std::lock_guard lock(mutex_);
  TEXTMILL_CHECK(missing_ == 0);
  if (error_) std::rethrow_exception(error_);
  return outputs_;
}

void Ticket::finish(size_t count, const std::exception_ptr& error) {
  std::function<void()> waker;
  {
    std::lock_guard lock(mutex_);
    if (error) error_ = error;
    missing_ -= count;
    finished_ = Clock::now();
    if (missing_ == 0) waker = std::move(waker_);
  }
  if (waker) waker();
}

// ---- the queue and its thread

Batcher::Batcher(Run run, int width, const BatcherOptions& options)
    : run_(std::move(run)),
      width_(width),
      options_(options),
      thread_(base::start_thread("model", [this](std::stop_token) { work(); })) {}

Batcher::~Batcher() {
  close();
  thread_.join();
}

void Batcher::close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

void Batcher::refuse_waiting() {
  std::deque<Entry> waiting;
  {
    std::lock_guard lock(mutex_);
    waiting.swap(queue_);
    queue_gauge().set(0);
  }
  auto error = std::make_exception_ptr(base::Error(base::Kind::unavailable, "the server is shutting down"));
  for (const Entry& entry : waiting) entry.ticket->finish(1, error);
}

size_t Batcher::queued() const {
  std::lock_guard lock(mutex_);
  return queue_.size();
}

void Batcher::submit(const std::shared_ptr<Ticket>& ticket) {
  size_t count = ticket->items.size();
  std::lock_guard lock(mutex_);
  if (closed_) throw base::Error(base::Kind::unavailable, "the server is shutting down");
  if (queue_.size() + count > options_.max_queue) {
    throw base::Error(base::Kind::limit,
                      fmt::format("the queue is full: {} of {} sequences wait, {} more do not fit",
                                  queue_.size(), options_.max_queue, count));
  }
  ticket->outputs_.resize(count * width_);
  for (size_t i = 0; i < count; i++) queue_.push_back({ticket, i});
  queue_gauge().set(static_cast<double>(queue_.size()));
  changed_.notify_one();
}

/// Waits for sequences and takes those in front that fit the token budget together, one at least. False after the end.
bool Batcher::take(std::vector<Entry>& batch) {
  batch.clear();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return closed_ || !queue_.empty(); });
  int64_t tokens = 0;
  while (!queue_.empty()) {
    const Entry& next = queue_.front();
    tokens += std::ssize(next.ticket->items[next.item].input_ids);
    if (!batch.empty() && tokens > options_.max_batch_tokens) break;
    batch.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  queue_gauge().set(static_cast<double>(queue_.size()));
  return !batch.empty();
}

/// What throws together is run one by one, so that only those fail that must.
void Batcher::run_batch(std::span<const Entry> batch) {
  items_.clear();
  for (const Entry& entry : batch) items_.push_back(&entry.ticket->items[entry.item]);
  auto started = Ticket::Clock::now();
  std::exception_ptr error;
  try {
    run_(items_, outputs_);
  } catch (...) {  // who waits is told; the thread goes on with the next
    if (batch.size() > 1) {
      for (const Entry& entry : batch) run_batch({&entry, 1});
      return;
    }
    error = std::current_exception();
  }
  batch_histogram().observe(static_cast<double>(batch.size()));
  for (const auto* item : items_) token_counter().add(static_cast<double>(item->input_ids.size()));
  for (size_t i = 0; i < batch.size(); i++) {
    auto& [ticket, item] = batch[i];
    if (ticket->started_ == Ticket::Clock::time_point()) ticket->started_ = started;
    if (!error) std::copy_n(outputs_.begin() + i * width_, width_, ticket->outputs_.begin() + item * width_);
    ticket->finish(1, error);
  }
}

void Batcher::work() {
  std::vector<Entry> batch;
  while (take(batch)) {
    std::erase_if(batch, [](const Entry& entry) {  // the client has left; its connection waits for the ticket
      if (!entry.ticket->left.stop_requested()) return false;
      entry.ticket->finish(1, {});
      return true;
    });
    if (!batch.empty()) run_batch(batch);
  }
}

}  // namespace textmill::serve
