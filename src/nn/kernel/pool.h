#pragma once

#include <sched.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace textmill::nn::kernel {

/// Runs phases of independent tasks on a fixed set of threads, the caller being one of them.
///
/// Each thread owns a contiguous range of a phase's tasks (so neighbours in memory stay with one core), takes from its
/// front, and steals from the back of the others' when its own is empty. A phase ends when its *tasks* are done: a thread
/// that the system did not run is not waited for. Between phases threads spin for at most 50 µs, then sleep.
///
/// Where the system gave a thread's CPU to somebody else in the middle of a task, a thread that has nothing left to do would
/// wait for several ms with a CPU of its own: it takes the other one there. The caller then stays, and the workers go
/// back to where they were, to share that CPU.
///
/// Which thread runs a task is chance, so a task's result must depend on its number alone. Phases of one pool are run
/// one after another, by one thread at a time, and do not nest.
class Pool {
 public:
  /// `threads` >= 1; starts threads - 1 of them.
  explicit Pool(int threads);
  Pool(const Pool&) = delete;
  ~Pool();

  int threads() const { return static_cast<int>(ranges_.size()); }

  /// Calls body(task, thread) once for each 0 <= task < tasks and returns when all are done. `thread` < threads() says
  /// whose scratch memory to use. `body` does not throw; there are fewer than 2^24 tasks.
  template <class Body>
  void run(int tasks, const Body& body) {
    run(tasks, {[](const void* context, int task, int thread) {
                  (*static_cast<const Body*>(context))(task, thread);
                },
                &body});
  }

 private:
  struct Call {
    void (*function)(const void* context, int task, int thread) = nullptr;
    const void* context = nullptr;
  };
  struct alignas(64) Range {
    std::atomic<uint64_t> tasks{0};  // phase (16 bits) | first (24) | end (24) of what nobody has taken
  };

  struct alignas(64) Member {
    std::atomic<int32_t> id{0};      // the system's number of the thread; 0: it must not be touched
    std::atomic<bool> holds{false};  // a task
    std::atomic<int> pulled{-1};     // to this CPU, by another thread
    cpu_set_t allowed{};             // where it may run otherwise; written before `pulled`
  };
  /// A thread that holds a task, and how long it had run when somebody looked.
  struct Held {
    int thread = -1;
    int64_t ran = 0;
  };

  void run(int tasks, Call call);
  void work(int thread);
  bool take(int thread, int& task);
  void serve(const std::stop_token& stop, int thread);
  template <class Changed>
  void await(int thread, const std::atomic<uint32_t>& word, const Changed& changed);
  Held held() const;
  void pull(int thread, const Held& held);
  void settle(int thread);

  std::vector<Range> ranges_;
  std::vector<Member> members_;
  Call call_;  // written before the ranges are filled, read after a task was taken
  uint64_t phases_ = 0;
  alignas(64) std::atomic<uint32_t> phase_{0};  // counts phases; idle threads wait for it to change
  alignas(64) std::atomic<uint32_t> unfinished_{
      0};  // tasks of the phase that are not done; the caller waits for 0
  alignas(64) std::atomic<uint32_t> sleepers_{0};
  std::atomic<bool> pulling_{false};  // one thread at a time does
  std::vector<std::jthread> workers_;
};

}  // namespace textmill::nn::kernel
