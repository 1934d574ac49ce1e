#pragma once

#include "fleet/instance.h"
#include "fleet/task.h"

namespace textmill::fleet {

/// "/opt/ml/checkpoints" as a path in an instance's root. Throws invalid for one that is not below /opt/ml.
base::Path in_root(const base::Path& path);

/// Makes a host's /opt/ml: configuration, folders, restored checkpoints. Channels stay empty.
void lay_out_host(const AttemptFolder& folder, const Task& task, const std::string& host);
/// The channels of a host as plain copies, and nothing else of them: where nothing can be mounted.
void copy_inputs(const AttemptFolder& folder, const Task& task, const std::string& host);
/// What runs on a host, and what it sees.
Program program_of(const AttemptFolder& folder, const Task& task, const std::string& host,
                   const LimitGroups& groups, int lock, Walls walls);
/// Moves what the other hosts left in model and output/data to the first host, unless it has a file of that name.
void merge_hosts(const AttemptFolder& folder, const Task& task);

}  // namespace textmill::fleet
