#include "train/checkpoint.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/hash.h"

namespace textmill::train {
namespace {

namespace fs = std::filesystem;

base::Path write(const base::Path& root, int64_t step, const std::string& state = "{}") {
  FolderWriter writer(root, checkpoint_name(step));
  base::write_file_durably(writer.path() / "weights", std::string(1000, 'w'));
  base::write_file_durably(writer.path() / "state.json", state);
  return writer.commit();
}

void put(const base::Path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

struct CheckpointTest : testing::Test {
  base::TemporaryFolder folder;
  const base::Path& root = folder.path();
};

TEST_F(CheckpointTest, the_newest_is_found) {
  EXPECT_FALSE(newest_checkpoint(root / "none"));
  EXPECT_FALSE(newest_checkpoint(root));
  for (int64_t step : {9, 100, 20}) write(root, step);
  fs::create_directory(root / "step-7");
  EXPECT_EQ(newest_checkpoint(root)->step, 100);
  EXPECT_EQ(newest_checkpoint(root)->path, root / "step-000000000100");
}

TEST_F(CheckpointTest, every_damaged_byte_is_seen_and_the_one_before_is_used) {
  write(root, 10);
  base::Path reference = write(root, 20);
  for (const char* name : {"weights", "state.json", "manifest"}) {
    std::string bytes = base::read_file(reference / name);
    for (size_t at = 0; at < bytes.size(); at += 1 + bytes.size() / 40) {
      std::string damaged = bytes;
      damaged[at] ^= 2;
      put(reference / name, damaged);
      ASSERT_TRUE(damage(reference)) << name << " at " << at;
      put(reference / name, bytes.substr(0, at));
      ASSERT_TRUE(damage(reference)) << name << " cut at " << at;
    }
    put(reference / name, bytes);
    ASSERT_FALSE(damage(reference));
  }
  put(reference / "weights", "w");
  EXPECT_EQ(newest_checkpoint(root)->step, 10);
  EXPECT_TRUE(fs::exists(reference)) << "looking changes nothing";
  remove_newer_checkpoints(root, 10);
  EXPECT_FALSE(fs::exists(reference));
  EXPECT_EQ(newest_checkpoint(root)->step, 10);
}

TEST_F(CheckpointTest, missing_files_are_named) {
  base::Path path = write(root, 1);
  EXPECT_FALSE(damage(path));
  fs::remove(path / "weights");
  EXPECT_EQ(damage(path), "weights is missing");
  fs::remove(path / "manifest");
  EXPECT_EQ(damage(path), "it has no manifest");
  EXPECT_FALSE(newest_checkpoint(root));
}

TEST_F(CheckpointTest, a_newer_format_is_refused) {
  base::Path path = write(root, 1);
  std::string manifest = "textmill 2\nwhat a later version may say\n";
  put(path / "manifest",
      manifest + fmt::format("{:08x} manifest\n", base::crc32c(std::as_bytes(std::span(manifest)))));
  EXPECT_THROW(newest_checkpoint(root), base::Error);
  EXPECT_TRUE(fs::exists(path));
}

TEST_F(CheckpointTest, a_checkpoint_takes_the_place_of_one_of_the_same_step) {
  write(root, 5, "old");
  EXPECT_EQ(base::read_file(write(root, 5, "new") / "state.json"), "new");
}

TEST_F(CheckpointTest, without_commit_nothing_is_left) {
  { FolderWriter(root, checkpoint_name(3)); }
  EXPECT_TRUE(fs::is_empty(root));
}

TEST_F(CheckpointTest, pruning_keeps_the_newest_and_clears_the_half_made) {
  for (int64_t step : {1, 2, 3, 4}) write(root, step);
  fs::create_directories(root / ".step-000000000005.partial" / "x");
  fs::create_directory(root / "best-000000000001");
  prune_checkpoints(root, 2);
  EXPECT_EQ(newest_checkpoint(root)->step, 4);
  EXPECT_TRUE(fs::exists(root / checkpoint_name(3)));
  EXPECT_FALSE(fs::exists(root / checkpoint_name(2)));
  EXPECT_FALSE(fs::exists(root / ".step-000000000005.partial"));
  EXPECT_TRUE(fs::exists(root / "best-000000000001"));
}

}  // namespace
}  // namespace textmill::train
