#include "nn/kernel/pool.h"

#include <chrono>

#include "base/error.h"

namespace textmill::nn::kernel {
namespace {

constexpr auto kSpin = std::chrono::microseconds(50);
constexpr int kBits = 24;
constexpr uint64_t kMask = (uint64_t{1} << kBits) - 1;

uint64_t pack(uint64_t phase, uint64_t first, uint64_t end) {
  return phase << 2 * kBits | first << kBits | end;
}

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

/// Whether `changed` became true within kSpin.
template <class Changed>
bool spin(const Changed& changed) {
  auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; i++) {
      if (changed()) return true;
      pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

}  // namespace

Pool::Pool(int threads) : ranges_(threads) {
  TEXTMILL_CHECK(threads >= 1);
  for (int i = 1; i < threads; i++) {
    workers_.emplace_back([this, i](std::stop_token stop) { serve(std::move(stop), i); });
  }
}

Pool::~Pool() {
  for (std::jthread& worker : workers_) worker.request_stop();
  phase_.fetch_add(1);
  phase_.notify_all();
}

void Pool::run(int tasks, Call call) {
  TEXTMILL_CHECK(tasks >= 0 && static_cast<uint64_t>(tasks) <= kMask);
  if (tasks <= 1 || threads() == 1) {
    for (int task = 0; task < tasks; task++) call.function(call.context, task, 0);
    return;
  }
  call_ = call;
  unfinished_.store(tasks, std::memory_order_relaxed);
  phases_++;
  uint64_t count = tasks, n = ranges_.size();
  for (uint64_t i = 0; i < n; i++) {
    ranges_[i].tasks.store(pack(phases_, count * i / n, count * (i + 1) / n), std::memory_order_release);
  }
  phase_.fetch_add(1);
  phase_.notify_all();
  work(0);
  if (spin([&] { return unfinished_.load(std::memory_order_acquire) == 0; })) return;
  for (int left; (left = unfinished_.load(std::memory_order_acquire)) != 0;) unfinished_.wait(left);
}

void Pool::work(int thread) {
  for (int task; take(thread, task);) {
    call_.function(call_.context, task, thread);
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
  }
}

/// A late thread may come here when its phase is over and the next has begun: what it takes is then a task of that one,
/// and `call_` is its call, for a phase does not end while a taken task is not done.
bool Pool::take(int thread, int& task) {
  for (int i = 0; i < threads(); i++) {
    int owner = (thread + i) % threads();
    std::atomic<uint64_t>& range = ranges_[owner].tasks;
    uint64_t seen = range.load(std::memory_order_acquire);
    while (true) {
      uint64_t phase = seen >> 2 * kBits, first = seen >> kBits & kMask, end = seen & kMask;
      if (first >= end) break;
      uint64_t rest = i == 0 ? pack(phase, first + 1, end) : pack(phase, first, end - 1);
      if (!range.compare_exchange_weak(seen, rest, std::memory_order_acq_rel, std::memory_order_acquire))
        continue;
      task = static_cast<int>(i == 0 ? first : end - 1);
      return true;
    }
  }
  return false;
}

void Pool::serve(std::stop_token stop, int thread) {
  uint32_t served = 0;
  while (true) {
    auto changed = [&] { return phase_.load(std::memory_order_acquire) != served; };
    if (!spin(changed)) phase_.wait(served);
    if (stop.stop_requested()) return;
    served = phase_.load(std::memory_order_acquire);
    work(thread);
  }
}

}  // namespace textmill::nn::kernel
