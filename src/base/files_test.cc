#include "base/files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

namespace textmill::base {
namespace {

Kind kind_of(auto&& action) {
  try {
    action();
  } catch (const Error& error) { return error.kind(); }
  ADD_FAILURE() << "nothing thrown";
  return Kind::internal;
}

TEST(Files, reads_what_was_written) {
  TemporaryFolder folder;
  Path path = folder.path() / "a";
  for (size_t size : {0, 1, 4095, 4096, 100000}) {
    std::string bytes(size, 'x');
    write_file_durably(path, bytes);
    EXPECT_EQ(read_file(path), bytes);
    EXPECT_EQ(MappedFile(path).text(), bytes);
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1)
      << "a temporary file was left";
}

TEST(Files, blocks_of_zeros_take_no_space_and_are_read_back) {
  TemporaryFolder folder;
  const std::string one(5000, 'x'), zeros(1 << 20, '\0'), odd(100, '\0');
  for (const auto& parts :
       {std::vector{zeros}, {one, zeros}, {zeros, one}, {one, zeros, one, odd, zeros, one, zeros, odd}}) {
    std::string whole;
    DurableFile file(folder.path() / "a");
    for (const std::string& part : parts) {
      file.write(part);
      whole += part;
    }
    file.commit();
    EXPECT_TRUE(read_file(folder.path() / "a") == whole);
    struct stat status;
    ASSERT_EQ(::stat((folder.path() / "a").c_str(), &status), 0);
    EXPECT_LE(status.st_blocks * 512, 100'000) << "of " << whole.size();
  }
}

TEST(Files, reads_files_that_do_not_know_their_size) { EXPECT_NE(read_file("/proc/self/maps").size(), 0u); }

TEST(Files, refuses_what_is_not_a_readable_file) {
  TemporaryFolder folder;
  EXPECT_EQ(kind_of([&] { read_file(folder.path() / "none"); }), Kind::not_found);
  EXPECT_EQ(kind_of([&] { read_file(folder.path()); }), Kind::invalid);
  EXPECT_EQ(kind_of([&] { MappedFile{folder.path()}; }), Kind::invalid);
  EXPECT_EQ(kind_of([&] { write_file_durably(folder.path() / "no" / "file", "x"); }), Kind::not_found);
}

TEST(Files, limit_counts_bytes) {
  TemporaryFolder folder;
  write_file_durably(folder.path() / "a", "12345");
  EXPECT_EQ(read_file(folder.path() / "a", 5), "12345");
  EXPECT_EQ(kind_of([&] { read_file(folder.path() / "a", 4); }), Kind::limit);
}

TEST(Files, uncommitted_file_leaves_the_old_one) {
  TemporaryFolder folder;
  Path path = folder.path() / "a";
  write_file_durably(path, "old");
  {
    DurableFile file(path);
    file.write("new");
  }
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(Files, mapped_file_survives_move_and_released_pages) {
  TemporaryFolder folder;
  write_file_durably(folder.path() / "a", "abc");
  MappedFile first(folder.path() / "a");
  const void* address = first.bytes().data();
  MappedFile second(std::move(first));
  first = std::move(second);
  EXPECT_EQ(first.bytes().data(), address);
  first.release_pages();
  EXPECT_EQ(first.text(), "abc");
}

TEST(Files, temporary_folder_is_removed_whole) {
  Path path;
  {
    TemporaryFolder folder("name");
    path = folder.path();
    EXPECT_TRUE(path.filename().string().starts_with("name-"));
    write_file_durably(path / "a", "x");
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(Files, lock_is_exclusive_until_destroyed) {
  TemporaryFolder folder;
  Path path = folder.path() / "lock";
  {
    FileLock lock(path);
    EXPECT_EQ(kind_of([&] { FileLock{path}; }), Kind::in_use);
  }
  FileLock again(path);
}

}  // namespace
}  // namespace textmill::base
