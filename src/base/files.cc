#include "base/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"

namespace textmill::base {
namespace {

constexpr const char* kUnfinished = ".tmp-";  // and the process, and a number

constexpr size_t kBlock = 4096;                  // of file systems
constexpr size_t kWriteBack = size_t{16} << 20;  // what the disk is told of at once

bool is_zero(const std::byte* block) {
  return block[0] == std::byte{} && std::memcmp(block, block + 1, kBlock - 1) == 0;
}

/// Of a folder, if this process may give files away.
std::optional<struct stat> owner_to_give(const Path& folder) {
  struct stat owner {};
  if (::geteuid() != 0) return {};
  if (::stat(folder.empty() ? "." : folder.c_str(), &owner) != 0) throw system_error(folder.string(), errno);
  return owner;
}

size_t file_size(const Descriptor& file, const Path& path) {
  struct stat status;
  if (::fstat(file.get(), &status) != 0) throw system_error(path.string(), errno);
  if (S_ISDIR(status.st_mode)) throw Error(Kind::invalid, path.string() + ": is a folder, expected a file");
  return static_cast<size_t>(status.st_size);
}

}  // namespace

void Descriptor::close() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Descriptor open_file(const Path& path, int flags, int mode) {
  Descriptor file(::open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!file) throw system_error(path.string(), errno);
  return file;
}

std::string name_of(const Path& path) {
  Path normal = std::filesystem::absolute(path).lexically_normal();
  return (normal.has_filename() ? normal : normal.parent_path()).filename().string();
}

std::string read_file(const Path& path, size_t limit) {
  Descriptor file = open_file(path, O_RDONLY);
  // The size is a hint: a pipe or a file of /proc says 0. One byte more lets the last read see the end.
  std::string bytes(std::min(file_size(file, path), limit) + 1, '\0');
  size_t used = 0;
  while (true) {
    if (used == bytes.size()) bytes.resize(used + std::max<size_t>(used, 4096));
    ssize_t n = ::read(file.get(), bytes.data() + used, bytes.size() - used);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw system_error(path.string(), errno);
    if (n == 0) break;
    used += static_cast<size_t>(n);
    if (used > limit)
      throw Error(Kind::limit, path.string() + ": longer than " + std::to_string(limit) + " bytes");
  }
  bytes.resize(used);
  return bytes;
}

DurableFile::DurableFile(const Path& path) : path_(path) {
  static std::atomic<unsigned> serial{0};
  temporary_ = path;
  temporary_ += kUnfinished + std::to_string(::getpid()) + "-" + std::to_string(serial++);
  file_ = open_file(temporary_, O_WRONLY | O_CREAT | O_TRUNC, 0666);
}

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

DurableFile::~DurableFile() {
  if (file_) ::unlink(temporary_.c_str());
}

/// Whole blocks of zeros become holes: they are neither written nor synced, such as the moments of a table's rows that
/// never moved. Of large pieces the disk begins early, so that the sync at the end finds little left.
void DurableFile::write(std::span<const std::byte> bytes) {
  auto check = [&](bool done) {
    if (!done) throw system_error(path_.string(), errno);
  };
  auto position = ::lseek(file_.get(), 0, SEEK_CUR);
  check(position >= 0);
  size_t done = 0;
  auto write_until = [&](size_t end) {
    for (size_t size; done < end; done += size) {
      size = std::min(end - done, kWriteBack);
      check(write_all(file_.get(), {reinterpret_cast<const char*>(bytes.data()) + done, size}));
      if (size == kWriteBack)
        ::sync_file_range(file_.get(), position + static_cast<off_t>(done), kWriteBack,
                          SYNC_FILE_RANGE_WRITE);
    }
  };
  for (size_t at = -static_cast<size_t>(position) % kBlock; at + kBlock <= bytes.size(); at += kBlock) {
    if (!is_zero(bytes.data() + at)) continue;
    write_until(at);
    check(::lseek(file_.get(), kBlock, SEEK_CUR) >= 0);
    done = at + kBlock;
  }
  write_until(bytes.size());
}

void DurableFile::give_to_owner() {
  if (auto owner = owner_to_give(path_.parent_path());
      owner && ::fchown(file_.get(), owner->st_uid, owner->st_gid) != 0)
    throw system_error(path_.string(), errno);
}

void give_to_owner(const Path& path) {
  if (auto owner = owner_to_give(path.parent_path());
      owner && ::lchown(path.c_str(), owner->st_uid, owner->st_gid) != 0)
    throw system_error(path.string(), errno);
}

void DurableFile::commit() {
  // What ends in a hole is longer than what was written.
  if (::ftruncate(file_.get(), ::lseek(file_.get(), 0, SEEK_CUR)) != 0)
    throw system_error(path_.string(), errno);
  if (::fsync(file_.get()) != 0) throw system_error(path_.string(), errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) throw system_error(path_.string(), errno);
  file_.close();
  sync_folder(path_.parent_path());
}

void remove_unfinished(const Path& folder) {
  std::vector<Path> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().filename().string().find(kUnfinished) != std::string::npos)
      found.push_back(entry.path());
  for (const Path& path : found) std::filesystem::remove(path);
}

void write_file_durably(const Path& path, std::string_view bytes) {
  DurableFile file(path);
  file.write(bytes);
  file.commit();
}

void sync_folder(const Path& folder) {
  Descriptor file = open_file(folder.empty() ? "." : folder, O_RDONLY | O_DIRECTORY);
  if (::fsync(file.get()) != 0) throw system_error(folder.string(), errno);
}

MappedFile::MappedFile(const Path& path) : path_(path) {
  Descriptor file = open_file(path, O_RDONLY);
  size_t size = file_size(file, path);
  if (size == 0) return;
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (address == MAP_FAILED) throw system_error(path.string(), errno);
  data_ = static_cast<const std::byte*>(address);
  size_ = size;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      path_(std::move(other.path_)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(path_, other.path_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::release_pages() const {
  if (data_) ::madvise(const_cast<std::byte*>(data_), size_, MADV_DONTNEED);
}

TemporaryFolder::TemporaryFolder(std::string_view prefix) {
  const char* root = std::getenv("TMPDIR");
  std::string name = (Path(root && *root ? root : "/tmp") / prefix).string() + "-XXXXXX";
  if (!::mkdtemp(name.data())) throw system_error(name, errno);
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

FileLock::FileLock(const Path& path) : file_(open_file(path, O_RDWR | O_CREAT, 0666)) {
  if (::flock(file_.get(), LOCK_EX | LOCK_NB) == 0) return;
  if (errno == EWOULDBLOCK) throw Error(Kind::in_use, path.string() + ": locked by another process");
  throw system_error(path.string(), errno);
}

}  // namespace textmill::base
