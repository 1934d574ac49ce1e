#include "train/memory.h"

#include <gtest/gtest.h>

#include <filesystem>

namespace textmill::train {
namespace {

struct MemoryTest : testing::Test {
  void put(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((root / name).parent_path());
    base::write_file_durably(root / name, text);
  }
  base::TemporaryFolder folder;
  const base::Path& root = folder.path();
};

TEST_F(MemoryTest, this_machine_has_some) { EXPECT_GT(available_memory(), 1 << 20); }

TEST_F(MemoryTest, what_the_kernel_says) {
  put("proc/meminfo", "MemTotal:  9000 kB\nMemFree: 1 kB\nMemAvailable:    8000 kB\n");
  EXPECT_EQ(available_memory(root), 8000 * 1024);
}

TEST_F(MemoryTest, no_more_than_any_group_leaves) {
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

TEST_F(MemoryTest, a_container_sees_its_own_group_as_the_top) {
  put("proc/meminfo", "MemAvailable:    8000 kB\n");
  put("proc/self/cgroup", "0::/\n");
  put("sys/fs/cgroup/memory.max", "1000000\n");
  put("sys/fs/cgroup/memory.current", "400000\n");
  EXPECT_EQ(available_memory(root), 600000);
}

}  // namespace
}  // namespace textmill::train
