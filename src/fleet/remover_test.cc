#include "fleet/remover.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/time.h"

namespace textmill::fleet {
namespace {

using base::Path;

Path attempt(const Path& folder) {
  std::filesystem::create_directories(folder / "algo-1/input/train/deep");
  for (int i = 0; i < 20; ++i)
    base::write_file_durably(folder / "algo-1/input/train/deep" / std::to_string(i), "x");
  std::filesystem::create_directory_symlink("/", folder / "algo-1/all");
  return folder;
}

bool becomes_empty(const Path& folder) {
  auto end = base::steady_now() + std::chrono::seconds(20);
  while (!std::filesystem::is_empty(folder)) {
    if (base::steady_now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

TEST(Remover, TakesFoldersAwayAtOnceAndRemovesThemLater) {
  base::TemporaryFolder work;
  Path gone = work.path() / "gone";
  attempt(gone / "before");  // by one that was killed
  Remover remover(gone);
  for (const char* name : {"a", "b"}) {
    remover.remove({attempt(work.path() / "jobs" / name)});
    EXPECT_FALSE(std::filesystem::exists(work.path() / "jobs" / name));
  }
  remover.remove({work.path() / "jobs/never"});
  EXPECT_TRUE(becomes_empty(gone));
  EXPECT_TRUE(std::filesystem::exists("/tmp"));
}

TEST(Remover, EndsWithoutHavingRemovedAll) {
  base::TemporaryFolder work;
  Path gone = work.path() / "gone";
  { Remover(gone).remove({attempt(work.path() / "a")}); }
  Remover next(gone);
  EXPECT_TRUE(becomes_empty(gone));
}

}  // namespace
}  // namespace textmill::fleet
