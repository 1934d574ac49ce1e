#pragma once

#include <sched.h>

#include <atomic>
#include <chrono>
#include <cstdint>

// What a pool asks Linux about threads of its process, named by the system's numbers.

namespace textmill::nn::kernel {

int32_t this_thread();

/// How long a thread has run, in ns: it stands still while the system runs others in its place. -1: there is no such thread.
int64_t cpu_time(int32_t thread);

/// The CPUs that a thread may run on; none where the system does not say.
cpu_set_t allowed_cpus(int32_t thread);
/// False where the system forbids it.
bool allow_cpus(int32_t thread, const cpu_set_t& cpus);

/// Sleeps until somebody calls wake(), no longer than `limit` (zero: no limit), and not at all unless `word` is `value`.
/// May return for no reason.
void sleep(const std::atomic<uint32_t>& word, uint32_t value, std::chrono::nanoseconds limit);
/// Wakes all that sleep for `word`.
void wake(const std::atomic<uint32_t>& word);

}  // namespace textmill::nn::kernel
