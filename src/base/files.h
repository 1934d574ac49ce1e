#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace textmill::base {

using Path = std::filesystem::path;

/// An open file descriptor that closes itself; -1 is none.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() { close(); }
  explicit operator bool() const { return fd_ >= 0; }
  int get() const { return fd_; }
  void close();

 private:
  int fd_;
};

/// open(2), close-on-exec. Errors name the path.
Descriptor open_file(const Path& path, int flags, int mode = 0);

/// The last name of a path, also of one that ends in a slash or a dot.
std::string name_of(const Path& path);

/// The whole file. Every error names the path: not_found, invalid (a folder), denied; limit beyond `limit`
/// bytes.
std::string read_file(const Path& path, size_t limit = SIZE_MAX);

/// All of `bytes`, to whatever the descriptor is. False, with errno, if that cannot be.
bool write_all(int fd, std::string_view bytes);

/// A file that appears whole or not at all: written under a temporary name beside `path`; commit() syncs it,
/// renames it over `path` and syncs the folder. Without commit() the destructor removes it. After a crash at
/// any moment `path` holds the old bytes or the new ones.
class DurableFile {
 public:
  explicit DurableFile(const Path& path);
  DurableFile(const DurableFile&) = delete;
  ~DurableFile();
  void write(std::span<const std::byte> bytes);
  void write(std::string_view bytes) { write(std::as_bytes(std::span(bytes))); }
  /// Root makes it that of its folder's owner; others change nothing.
  void give_to_owner();
  void commit();

 private:
  Path path_, temporary_;
  Descriptor file_;
};

/// Root makes `path`, no link followed, that of its folder's owner; others change nothing.
void give_to_owner(const Path& path);

/// Removes from a folder what DurableFiles left there that were killed. Nobody may be writing one there now.
void remove_unfinished(const Path& folder);

/// A DurableFile of these bytes.
void write_file_durably(const Path& path, std::string_view bytes);

/// Makes the names inside a folder durable (fsync on the folder).
void sync_folder(const Path& folder);

/// A file mapped read-only. Empty files map to an empty span. The address stays valid while the object lives.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const Path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  const Path& path() const { return path_; }

  /// Tells the kernel that the pages in memory are not needed now: they no longer count as resident, and come
  /// back from the file when touched.
  void release_pages() const;

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  Path path_;
};

/// A fresh folder under $TMPDIR (or /tmp), removed with everything in it at the end of the object's life.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(std::string_view prefix = "textmill");
  TemporaryFolder(const TemporaryFolder&) = delete;
  ~TemporaryFolder();
  const Path& path() const { return path_; }

 private:
  Path path_;
};

/// An exclusive advisory lock (flock) on a file that it creates; held by this process until destroyed or
/// killed. Throws in_use when another process holds it; the message names the path.
class FileLock {
 public:
  explicit FileLock(const Path& path);

 private:
  Descriptor file_;
};

}  // namespace textmill::base
