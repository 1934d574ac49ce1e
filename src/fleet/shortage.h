#pragma once

#include <cstdint>
#include <ctime>
#include <optional>

#include "base/files.h"
#include "fleet/task.h"

namespace textmill::fleet {

/// Less than 256 MiB are left where a folder is.
bool is_short(const base::Path& folder);

enum class Left { what_is_kept, nothing };
/// On a short disk, removes what a program has left that is over, but for what is yet to be kept: its scratch files, then all.
/// How an attempt ended needs room, here and in the server's database.
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
