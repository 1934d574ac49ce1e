#include "store/reserve.h"

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>

namespace textmill::store {

bool Reserve::hold() {
  if (size_ >= wanted_) return true;
  std::lock_guard lock(mutex_);
  int64_t wanted = wanted_;
  base::Descriptor file(::open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (file.get() < 0) return false;
  if (::posix_fallocate(file.get(), 0, wanted) == 0) {
    size_ = wanted;
    return true;
  }
  // Some file systems keep what they could allocate.
  std::filesystem::resize_file(file_, static_cast<uintmax_t>(size_));
  return false;
}

bool Reserve::release() {
  std::lock_guard lock(mutex_);
  return size_.exchange(0) > 0 && std::filesystem::remove(file_);
}

}  // namespace textmill::store
