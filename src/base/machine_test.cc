#include "base/machine.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <filesystem>

namespace textmill::base {
namespace {

struct MachineTest : testing::Test {
  void put(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((root / name).parent_path());
    write_file_durably(root / name, text);
  }
  TemporaryFolder folder;
  const Path& root = folder.path();
};

TEST_F(MachineTest, this_machine_has_some) { EXPECT_GT(available_memory(), 1 << 20); }

TEST_F(MachineTest, what_the_kernel_says) {
  put("proc/meminfo", "MemTotal:  9000 kB\nMemFree: 1 kB\nMemAvailable:    8000 kB\n");
  EXPECT_EQ(available_memory(root), 8000 * 1024);
}

TEST_F(MachineTest, no_more_than_any_group_leaves) {
  put("proc/meminfo", "MemAvailable:    8000 kB\n");
  put("proc/self/cgroup", "0::/a/b\n");
  put("sys/fs/cgroup/a/memory.max", "5000000\n");
  put("sys/fs/cgroup/a/memory.current", "3000000\n");
  put("sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 500000\n");
  put("sys/fs/cgroup/a/b/memory.max", "max\n");
  put("sys/fs/cgroup/a/b/memory.current", "3000000\n");
  EXPECT_EQ(available_memory(root), 2500000);
  put("sys/fs/cgroup/a/b/memory.max", "1000000\n");
  EXPECT_EQ(available_memory(root), 0) << "over its limit";
}

TEST_F(MachineTest, a_container_sees_its_own_group_as_the_top) {
  put("proc/meminfo", "MemAvailable:    8000 kB\n");
  put("proc/self/cgroup", "0::/\n");
  put("sys/fs/cgroup/memory.max", "1000000\n");
  put("sys/fs/cgroup/memory.current", "400000\n");
  EXPECT_EQ(available_memory(root), 600000);
}

TEST_F(MachineTest, memory_of_a_group_of_version_1) {
  put("proc/meminfo", "MemAvailable:    8000 kB\n");
  put("proc/self/cgroup", "4:memory:/a\n0::/\n");
  put("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1000000\n");
  put("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "400000\n");
  put("sys/fs/cgroup/memory/a/memory.stat", "inactive_file 1\ntotal_inactive_file 100000\n");
  EXPECT_EQ(available_memory(root), 700000);
}

TEST_F(MachineTest, a_group_that_may_not_be_read_says_nothing) {
  int all = usable_cpus(root);
  put("proc/meminfo", "MemAvailable:    8000 kB\n");
  put("proc/self/cgroup", "4:cpu,memory:/a/b\n");
  std::filesystem::create_directories(root / "sys/fs/cgroup/cpu/a");
  std::filesystem::create_symlink("b", root / "sys/fs/cgroup/cpu/a/b");  // a loop is closed to root, too
  std::filesystem::create_directories(root / "sys/fs/cgroup/memory/a/b");
  std::filesystem::create_symlink("memory.max", root / "sys/fs/cgroup/memory/a/b/memory.max");
  EXPECT_EQ(usable_cpus(root), all);
  EXPECT_EQ(available_memory(root), 8000 * 1024);
}

TEST_F(MachineTest, cpus_of_the_affinity) {
  cpu_set_t before, one;
  ASSERT_EQ(::sched_getaffinity(0, sizeof before, &before), 0);
  EXPECT_EQ(usable_cpus(root), CPU_COUNT(&before));
  CPU_ZERO(&one);
  for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
    if (CPU_ISSET(i, &before)) CPU_SET(i, &one);
  ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(usable_cpus(root), 1);
  ASSERT_EQ(::sched_setaffinity(0, sizeof before, &before), 0);
}

TEST_F(MachineTest, cpus_by_the_least_quota_rounded_up) {
  int all = usable_cpus(root);
  put("proc/self/cgroup", "0::/a/b\n");
  put("sys/fs/cgroup/a/cpu.max", "150000 100000\n");
  put("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  EXPECT_EQ(usable_cpus(root), std::min(all, 2));
  put("sys/fs/cgroup/a/b/cpu.max", "20000 50000\n");
  EXPECT_EQ(usable_cpus(root), 1);
  put("proc/self/cgroup", "3:cpuset:/\n2:cpu,cpuacct:/c\n0::/\n");
  EXPECT_EQ(usable_cpus(root), all);
  put("sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "-1\n");
  put("sys/fs/cgroup/cpu/c/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(usable_cpus(root), all);
  put("sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "60000\n");
  EXPECT_EQ(usable_cpus(root), 1);
}

}  // namespace
}  // namespace textmill::base
