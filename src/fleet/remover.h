#pragma once

#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>

#include "base/files.h"
#include "fleet/task.h"

namespace textmill::fleet {

/// Removes the folders of attempts that are over in a thread of its own: of many files, that takes its time.
class Remover {
 public:
  /// Folders move to `gone`, on the same file system; what is there already is removed too.
  explicit Remover(base::Path gone);
  Remover(const Remover&) = delete;

  /// The folder is not where it was when this returns.
  void remove(const AttemptFolder& folder);

 private:
  void run(const std::stop_token& stop);

  const base::Path gone_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  bool more_ = true;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace textmill::fleet
