#include "nn/kernel/pool.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <numeric>
#include <set>

#include "nn/kernel/threads.h"

namespace textmill::nn::kernel {
namespace {

TEST(Pool, RunsEachTaskOnce) {
  for (int threads : {1, 2, 3, 7}) {
    Pool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (int tasks : {0, 1, 2, 3, 64, 1000}) {
      std::vector<std::atomic<int>> runs(tasks);
      std::atomic<bool> thread_in_range = true;
      pool.run(tasks, [&](int task, int thread) {
        runs[task]++;
        if (thread < 0 || thread >= threads) thread_in_range = false;
      });
      for (auto& count : runs) EXPECT_EQ(count, 1);
      EXPECT_TRUE(thread_in_range);
    }
  }
}

// Plain memory written by one phase is read by the next on other threads; run under the thread sanitizer too.
TEST(Pool, PhasesSeeWhatEarlierOnesWrote) {
  Pool pool(3);
  std::vector<int> values(97);
  for (int phase = 0; phase < 5000; phase++) {
    std::vector<int> before = values;
    pool.run(97, [&](int task, int) { values[task] = before[(task + 1) % 97] + 1; });
  }
  EXPECT_EQ(std::accumulate(values.begin(), values.end(), 0), 97 * 5000);
}

TEST(Pool, WakesThreadsThatSleep) {
  Pool pool(3);
  for (int phase = 0; phase < 5; phase++) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // longer than they spin
    std::atomic<int> sum = 0;
    pool.run(10, [&](int task, int) { sum += task; });
    EXPECT_EQ(sum, 45);
  }
}

// A task that waits for all the others can only return if the others are stolen from its thread's range.
TEST(Pool, StealsFromAThreadThatIsStuck) {
  Pool pool(2);
  std::mutex mutex;
  std::condition_variable done;
  int others = 0;
  pool.run(100, [&](int task, int) {
    std::unique_lock lock(mutex);
    if (task == 0) {
      done.wait(lock, [&] { return others == 99; });
    } else if (++others == 99) {
      done.notify_one();
    }
  });
  EXPECT_EQ(others, 99);
}

// A task that does not run, here because it sleeps, is taken to the CPU of a thread that waits for it; afterwards that
// thread may run where it might before.
TEST(Pool, TakesATaskThatStandsToACpuThatIsFree) {
  const cpu_set_t everywhere = allowed_cpus(this_thread());
  if (CPU_COUNT(&everywhere) < 2) GTEST_SKIP() << "one CPU alone";
  // No event tells of a thread's affinity.
  auto within_10_s = [](auto&& happened) {
    for (int i = 0; i < 10'000 && !happened(); i++) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return happened();
  };
  Pool pool(2);
  for (int owner : {0, 1}) {
    std::atomic<int32_t> stands = 0;
    bool taken = false;
    pool.run(2, [&](int, int thread) {
      if (thread != owner) {
        stands.wait(0);  // the owner takes the other task
      } else if (stands.exchange(this_thread()) == 0) {
        stands.notify_all();
        taken = within_10_s([&] {
          cpu_set_t now = allowed_cpus(this_thread());
          return CPU_COUNT(&now) == 1;
        });
      }
    });
    EXPECT_TRUE(taken) << owner;
    EXPECT_TRUE(within_10_s([&] {
      cpu_set_t now = allowed_cpus(stands);
      return CPU_EQUAL(&now, &everywhere) != 0;
    })) << owner;
  }
}

}  // namespace
}  // namespace textmill::nn::kernel
