#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"
#include "fleet/task.h"

namespace textmill::fleet {

/// Those of jobs and of endpoints' instances that are in a data folder.
std::vector<AttemptFolder> attempts_in(const base::Path& data_folder);

/// Takes an attempt for this process and those that inherit the descriptor; as long as one has it open, the attempt is
/// alive. Throws in_use.
base::Descriptor lock_attempt(const AttemptFolder& folder);
/// Whether something of the attempt still runs.
bool is_alive(const AttemptFolder& folder);
/// Waits until nothing of it runs any more.
void await_end(const AttemptFolder& folder);
/// Whether a runner ever began it.
bool was_begun(const AttemptFolder& folder);

/// Starts a runner, which outlives this process; returns when it holds the lock and its journal is there. Throws
/// unavailable with the runner's own words when it does not come to that.
void start_runner(const AttemptFolder& folder);

/// The program is to end: SIGTERM, then, after the task's grace, SIGKILL. Holds for an attempt that has not begun, too.
void ask_to_stop(const AttemptFolder& folder);

/// Lets this user, whose folders these are, into those that a program closed, and read its files. Nothing of the program
/// runs any more.
void open_up(const base::Path& folder);

/// Words for a user: what lies in a folder of the server's is named from there, or from what it is to a program.
std::string shown(std::string words, const base::Path& folder, std::string_view as = "");

/// Removes the folder of an attempt that is not alive, and what it left in the kernel.
void remove_attempt(const AttemptFolder& folder);

}  // namespace textmill::fleet
