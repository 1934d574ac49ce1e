#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <vector>

namespace textmill::fleet {

/// That something was taken into rows or logs: for those who follow them. For any thread.
class News {
 public:
  uint64_t version() const {
    std::lock_guard lock(mutex_);
    return version_;
  }
  void announce() {
    std::vector<std::function<void()>> waiting;
    {
      std::lock_guard lock(mutex_);
      ++version_;
      waiting.swap(waiting_);
    }
    for (const auto& wake : waiting) wake();
  }
  /// True if there was news since; else `wake` is called once, when there is.
  bool since(uint64_t version, std::function<void()> wake) {
    std::lock_guard lock(mutex_);
    if (version_ != version) return true;
    waiting_.push_back(std::move(wake));
    return false;
  }

 private:
  mutable std::mutex mutex_;
  uint64_t version_ = 1;
  std::vector<std::function<void()>> waiting_;
};

}  // namespace textmill::fleet
