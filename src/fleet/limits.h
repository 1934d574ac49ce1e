#pragma once

#include <string>
#include <vector>

#include "fleet/task.h"

namespace textmill::fleet {

/// Groups of the kernel (cgroup v1 or v2) that hold one instance to its limits.
struct LimitGroups {
  std::vector<base::Path> folders;  // empty: the system lets us make none
  std::string said;                 // what limits it, for the job's log
};

/// Makes them under that name, which is made anew.
LimitGroups make_groups(const std::string& name, const Limits& limits);
/// Ways into the groups, opened while they can be seen.
std::vector<base::Descriptor> doors(const LimitGroups& groups);
/// Called in the process that is to be limited.
void join(const std::vector<base::Descriptor>& doors);
/// Whether something in the groups was killed for want of memory.
bool ran_out_of_memory(const LimitGroups& groups);
/// What of the rest the groups cannot do or are not there for: rlimits, nice. Called in that process too.
void apply(const LimitGroups& groups, const Limits& limits);
/// Removes groups whose processes are gone.
void remove_groups(const std::string& name);

}  // namespace textmill::fleet
