#include "store/reserve.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

namespace textmill::store {

Reserve::Reserve(base::Path file) : file_(std::move(file)) {
  struct stat left {};
  if (::stat(file_.c_str(), &left) == 0)
    size_ = std::min(int64_t{left.st_size}, int64_t{left.st_blocks} * 512);  // a sparse one holds nothing
}

bool Reserve::hold() {
  if (size_ >= wanted_) return true;
  std::lock_guard lock(mutex_);
  int64_t wanted = wanted_;
  if (size_ >= wanted) return true;
  // Trying would fill the disk for a moment, in which others fail: what there is, then, before they take it. Without a
  // capacity nothing is known.
  std::error_code error;
  auto space = std::filesystem::space(file_.parent_path(), error);
  bool known = !error && space.capacity > 0;
  if (known && space.free < static_cast<uintmax_t>(wanted - size_ + kLeft))
    wanted = size_ + std::max<int64_t>(0, static_cast<int64_t>(space.free) - kLeft) / kStep * kStep;
  if (wanted <= size_) return false;
  base::Descriptor file(::open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (file.get() < 0) return false;
  if (::posix_fallocate(file.get(), 0, wanted) == 0) {
    size_ = wanted;
    return size_ >= wanted_;
  }
  // Some file systems keep what they could allocate.
  std::filesystem::resize_file(file_, static_cast<uintmax_t>(size_), error);
  return false;
}

bool Reserve::release() {
  std::lock_guard lock(mutex_);
  return give_back();
}

std::unique_lock<std::mutex> Reserve::lend() {
  std::unique_lock lock(mutex_);
  give_back();
  return lock;
}

bool Reserve::give_back() {
  std::error_code error;
  return size_.exchange(0) > 0 && std::filesystem::remove(file_, error);
}

}  // namespace textmill::store
