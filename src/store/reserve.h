#pragma once

#include <atomic>
#include <mutex>

#include "base/files.h"

namespace textmill::store {

/// Space kept for deletions, which have to write something too, and for the log, which has to be copied into the tables:
/// a file that is given back to the file system when one of them finds the disk full.
class Reserve {
 public:
  /// Takes over what an earlier process left.
  explicit Reserve(base::Path file);
  /// Beside what a deletion writes (4 MiB): as much as the log would add to the tables.
  void cover(int64_t log_bytes) { wanted_ = kStep + (log_bytes + kStep - 1) / kStep * kStep; }
  /// Whether it is there, as large as wanted; it grows as soon as there is space for it.
  bool hold();
  /// False when it was given back already.
  bool release();
  /// Gives it back for one's own use: until the result ends, who wants to hold it waits.
  std::unique_lock<std::mutex> lend();

 private:
  bool give_back();

  static constexpr int64_t kStep = 4 << 20, kLeft = 1 << 20;
  const base::Path file_;
  std::mutex mutex_;
  std::atomic<int64_t> wanted_ = kStep, size_ = 0;
};

}  // namespace textmill::store
