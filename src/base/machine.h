#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"

namespace textmill::base {

// What of the machine this process may use, by control groups of version 1 and 2 too. `root` holds /proc and /sys; other
// than "/" in tests.

/// One that this process is in.
struct ControlGroup {
  std::string controllers;  // "cpu,cpuacct"; of version 2 empty
  std::string path;         // "/a/b", from the mount
  bool has(std::string_view controller) const;
};
std::vector<ControlGroup> control_groups(const Path& root = "/");

/// Bytes that it may still take: what the kernel calls available, and no more than its control groups leave.
int64_t available_memory(const Path& root = "/");

/// How many threads can run at once: the CPUs of its affinity, and no more than the quotas of its control groups, rounded
/// up.
int usable_cpus(const Path& root = "/");

}  // namespace textmill::base
