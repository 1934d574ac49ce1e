#pragma once

#include "base/files.h"

namespace textmill::fleet {

/// The role of a process that looks after one attempt (task.h says what is where). Takes the lock, begins the journal,
/// and then returns 0 while a child, which holds the lock, goes on alone in its own session: lays out /opt/ml, runs the
/// program on each host, follows its output, keeps what is to be kept, and writes down how it ended. When it is killed,
/// all that it started is killed. Throws in_use when another runner has the attempt, exists when it was begun before.
int run_attempt(const base::Path& folder);

}  // namespace textmill::fleet
