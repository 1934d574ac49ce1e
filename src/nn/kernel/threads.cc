#include "nn/kernel/threads.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <ctime>

namespace textmill::nn::kernel {

int32_t this_thread() {
  static thread_local const auto kThread = static_cast<int32_t>(::syscall(SYS_gettid));
  return kThread;
}

/// The clock's number as clock_getcpuclockid(3) makes it of a thread: pthread_getcpuclockid(3) would read a pthread_t, of
/// which nothing may be left.
int64_t cpu_time(int32_t thread) {
  constexpr unsigned kThreadClock = 4, kScheduled = 2;
  auto clock = static_cast<clockid_t>(~static_cast<unsigned>(thread) << 3 | kThreadClock | kScheduled);
  timespec time{};
  return ::clock_gettime(clock, &time) == 0 ? int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec : -1;
}

cpu_set_t allowed_cpus(int32_t thread) {
  cpu_set_t cpus{};
  if (::sched_getaffinity(thread, sizeof cpus, &cpus) != 0) CPU_ZERO(&cpus);
  return cpus;
}

bool allow_cpus(int32_t thread, const cpu_set_t& cpus) {
  return ::sched_setaffinity(thread, sizeof cpus, &cpus) == 0;
}

void sleep(const std::atomic<uint32_t>& word, uint32_t value, std::chrono::nanoseconds limit) {
  static_assert(sizeof word == sizeof(uint32_t) && std::atomic<uint32_t>::is_always_lock_free);
  timespec time{.tv_sec = limit.count() / 1'000'000'000, .tv_nsec = limit.count() % 1'000'000'000};
  ::syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, limit.count() > 0 ? &time : nullptr, nullptr, 0);
}

void wake(const std::atomic<uint32_t>& word) {
  ::syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace textmill::nn::kernel
