#include "nn/kernel/pool.h"

#include <chrono>

#include "base/error.h"
#include "nn/kernel/threads.h"

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

/// Whether `changed` became true within half of kSpin.
template <class Changed>
bool spin(const Changed& changed) {
  auto end = std::chrono::steady_clock::now() + kSpin / 2;
  do {
    for (int i = 0; i < 32; i++) {
      if (changed()) return true;
      pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

/// Moves the calling thread away from a CPU, if it may run on others; it waits for its turn there.
void leave(int cpu, const cpu_set_t& allowed) {
  cpu_set_t others = allowed;
  CPU_CLR(cpu, &others);
  if (CPU_COUNT(&others) > 0) allow_cpus(this_thread(), others);
  allow_cpus(this_thread(), allowed);
}

}  // namespace

Pool::Pool(int threads) : ranges_(threads), members_(threads) {
  TEXTMILL_CHECK(threads >= 1);
  for (int i = 1; i < threads; i++) {
    workers_.emplace_back([this, i](const std::stop_token& stop) { serve(stop, i); });
  }
}

Pool::~Pool() {
  for (std::jthread& worker : workers_) worker.request_stop();
  phase_.fetch_add(1);
  wake(phase_);
}

void Pool::run(int tasks, Call call) {
  TEXTMILL_CHECK(tasks >= 0 && static_cast<uint64_t>(tasks) <= kMask);
  if (tasks <= 1 || threads() == 1) {
    for (int task = 0; task < tasks; task++) call.function(call.context, task, 0);
    return;
  }
  members_[0].id.store(this_thread(), std::memory_order_relaxed);
  call_ = call;
  unfinished_.store(tasks, std::memory_order_relaxed);
  phases_++;
  uint64_t count = tasks, n = ranges_.size();
  for (uint64_t i = 0; i < n; i++) {
    ranges_[i].tasks.store(pack(phases_, count * i / n, count * (i + 1) / n), std::memory_order_release);
  }
  phase_.fetch_add(1);
  if (sleepers_.load() > 0) wake(phase_);
  work(0);
  await(0, unfinished_, [&] { return unfinished_.load(std::memory_order_acquire) == 0; });
  // The calling thread may end now: whoever looks at it has seen it before, and is waited for, or sees none.
  members_[0].id.store(0);
  while (pulling_.load()) std::this_thread::yield();  // it may wait for this CPU
  settle(0);
}

void Pool::work(int thread) {
  Member& self = members_[thread];
  auto next = [&](int& task) {
    if (thread != 0) settle(thread);
    return take(thread, task);
  };
  for (int task; next(task);) {
    self.holds.store(true, std::memory_order_relaxed);
    call_.function(call_.context, task, thread);
    if (unfinished_.fetch_sub(1) == 1 && sleepers_.load() > 0) wake(unfinished_);
    self.holds.store(false, std::memory_order_relaxed);
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

void Pool::serve(const std::stop_token& stop, int thread) {
  members_[thread].id.store(this_thread(), std::memory_order_relaxed);
  uint32_t served = 0;
  while (true) {
    await(thread, phase_, [&] { return phase_.load(std::memory_order_acquire) != served; });
    if (stop.stop_requested()) return;
    served = phase_.load(std::memory_order_acquire);
    work(thread);
  }
}

/// Returns when `changed`, of which `word` tells. Looks, while tasks are not done, whether those who hold them run.
template <class Changed>
void Pool::await(int thread, const std::atomic<uint32_t>& word, const Changed& changed) {
  if (spin(changed)) return;
  Held before = held();
  if (spin(changed)) return;
  while (!changed()) {
    pull(thread, before);
    before = held();
    sleepers_.fetch_add(1);
    uint32_t value = word.load();
    if (!changed()) sleep(word, value, unfinished_.load() > 0 ? 2 * kSpin : std::chrono::microseconds(0));
    sleepers_.fetch_sub(1);
  }
}

Pool::Held Pool::held() const {
  for (int i = 0; i < threads(); i++) {
    int32_t id = members_[i].id.load(std::memory_order_relaxed);
    if (id != 0 && members_[i].holds.load(std::memory_order_relaxed)) return {i, cpu_time(id)};
  }
  return {};
}

/// Takes the thread `seen` to the CPU of the calling one, if it holds a task and has not run since it was seen.
void Pool::pull(int thread, const Held& seen) {
  if (seen.thread < 0 || seen.thread == thread || pulling_.exchange(true)) return;
  Member& other = members_[seen.thread];
  int32_t id = other.id.load();
  int cpu = ::sched_getcpu();
  bool stands = id != 0 && other.holds.load(std::memory_order_relaxed) && other.pulled.load() < 0 &&
                cpu_time(id) == seen.ran;
  cpu_set_t here{}, allowed{};
  bool moved = false;
  if (stands && cpu >= 0) {
    allowed = allowed_cpus(id);
    CPU_SET(cpu, &here);
    moved = CPU_ISSET(cpu, &allowed) && CPU_COUNT(&allowed) > 1 && allow_cpus(id, here);
  }
  if (moved) {
    other.allowed = allowed;
    other.pulled.store(cpu, std::memory_order_release);
  }
  pulling_.store(false);
  if (moved && seen.thread == 0) leave(cpu, allowed_cpus(this_thread()));
}

/// Where a thread was pulled for a task that is done, it may run everywhere again; a worker makes room for its helper first.
void Pool::settle(int thread) {
  Member& self = members_[thread];
  int cpu = self.pulled.load(std::memory_order_acquire);
  if (cpu < 0) return;
  if (thread == 0) {
    allow_cpus(this_thread(), self.allowed);
  } else {
    leave(cpu, self.allowed);
  }
  self.pulled.store(-1, std::memory_order_relaxed);
}

}  // namespace textmill::nn::kernel
