#pragma once

#include <functional>
#include <string>

#include "fleet/instance.h"
#include "fleet/task.h"

namespace textmill::fleet {

/// "/opt/ml/checkpoints" as a path in an instance's root. Throws invalid for one that is not below /opt/ml.
base::Path in_root(const base::Path& path);

/// Makes a host's /opt/ml: configuration, folders, restored checkpoints. Channels stay empty.
void lay_out_host(const AttemptFolder& folder, const Task& task, const std::string& host);
/// What a job is told where the system makes no walls, and says why.
std::string without_walls(const std::string& refused, const base::Path& root);
/// The channels of a host as plain copies, and nothing else of them: where nothing can be mounted.
void copy_inputs(const AttemptFolder& folder, const Task& task, const std::string& host);
/// What runs on a host, and what it sees.
Program program_of(const AttemptFolder& folder, const Task& task, const std::string& host,
                   const LimitGroups& groups, int lock, Walls walls);
/// A host's files to who will run there.
void hand_over(const AttemptFolder& folder, const Task& task, const std::string& host, Walls walls);
/// Moves what the other hosts left in model and output/data to the first host, unless it has a file of that name. Says what
/// is a file of one and a folder of another.
void merge_hosts(const AttemptFolder& folder, const Task& task,
                 const std::function<void(const std::string& host, const std::string& words)>& say);

}  // namespace textmill::fleet
