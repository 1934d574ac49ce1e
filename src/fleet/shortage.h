#pragma once

#include <cstdint>
#include <ctime>
#include <optional>

#include "base/files.h"
#include "fleet/task.h"

namespace textmill::fleet {

/// Whether an error comes of a full disk where a folder is: less than 256 MiB are left there.
bool is_of_full_disk(const std::exception& error, const base::Path& folder);

enum class Left { what_may_be_kept, nothing };
/// On a short disk, removes what a program has left that is over: its scratch files, or all, once what is to be kept lies
/// elsewhere. How an attempt ended needs room, here and in the server's database.
void make_room(const AttemptFolder& folder, const Task& task, Left left);

/// Says which programs end before a full disk stops all others: those that fill it.
class Shortage {
 public:
  /// Of an attempt whose program begins now; what was laid out before is not its own.
  explicit Shortage(base::Path folder);

  /// Less than 256 MiB are left, and the program has written since the last look, or has half of what is missing to so much
  /// when almost nothing is left.
  bool is_ours();

 private:
  uint64_t written() const;

  base::Path folder_;
  timespec begun_{};
  std::optional<uint64_t> before_;  // written, at the last look at a short disk
};

}  // namespace textmill::fleet
