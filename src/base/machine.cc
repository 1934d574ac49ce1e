#include "base/machine.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <thread>

namespace textmill::base {
namespace {

namespace fs = std::filesystem;

/// The number that follows `key`, or begins the file; nothing if there is none, such as "max", or if this user may not read
/// it: a group may be closed to those in it.
std::optional<int64_t> number_in(const Path& file, std::string_view key = "") {
  if (::access(file.c_str(), R_OK) != 0) return {};
  std::string text = read_file(file);
  size_t at = key.empty() ? 0 : text.find(key);
  if (at == std::string::npos) return {};
  at = text.find_first_not_of(" :\t", at + key.size());
  int64_t value = 0;
  if (at == std::string::npos ||
      std::from_chars(&text[at], text.data() + text.size(), value).ec != std::errc{}) {
    return {};
  }
  return value;
}

/// Calls `look` with the folder of each control group that this process is in, and of those above it: of version 2, and of
/// `controller` in version 1. A container sees its own group as the top, wherever the kernel says that it is.
void for_each_group(const Path& root, const std::string& controller,
                    const std::function<void(const Path& folder)>& look) {
  Path mounts = root / "sys/fs/cgroup";
  for (const ControlGroup& group : control_groups(root)) {
    bool unified = group.controllers.empty();
    if (!unified && !group.has(controller)) continue;
    Path top = unified ? mounts : mounts / controller;
    Path folder = (top / Path(group.path).relative_path()).lexically_normal();
    while (folder != top && ::access(folder.c_str(), F_OK) != 0) folder = folder.parent_path();
    for (;; folder = folder.parent_path()) {
      look(folder);
      if (folder == top || !folder.has_relative_path()) break;
    }
  }
}

}  // namespace

bool ControlGroup::has(std::string_view controller) const {
  return ("," + controllers + ",").find("," + std::string(controller) + ",") != std::string::npos;
}

std::vector<ControlGroup> control_groups(const Path& root) {
  std::vector<ControlGroup> out;
  std::string text = fs::exists(root / "proc/self/cgroup") ? read_file(root / "proc/self/cgroup") : "";
  for (size_t at = 0, end; (end = text.find('\n', at)) != text.npos; at = end + 1) {
    std::string line = text.substr(at, end - at);  // "4:cpu,cpuacct:/a/b", "0::/a/b"
    size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second != line.npos)
      out.push_back({line.substr(first + 1, second - first - 1), line.substr(second + 1)});
  }
  return out;
}

int64_t available_memory(const Path& root) {
  int64_t left = number_in(root / "proc/meminfo", "MemAvailable").value_or(INT64_MAX / 1024) * 1024;
  auto leaves = [&](std::optional<int64_t> most, std::optional<int64_t> used,
                    std::optional<int64_t> droppable) {
    if (most && used) left = std::min(left, *most - *used + droppable.value_or(0));
  };
  for_each_group(root, "memory", [&](const Path& group) {  // file pages that can be dropped do not count
    leaves(number_in(group / "memory.max"), number_in(group / "memory.current"),
           number_in(group / "memory.stat", "inactive_file"));
    leaves(number_in(group / "memory.limit_in_bytes"), number_in(group / "memory.usage_in_bytes"),
           number_in(group / "memory.stat", "total_inactive_file"));
  });
  return std::max<int64_t>(0, left);
}

int usable_cpus(const Path& root) {
  cpu_set_t set;
  double cpus =
      ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : std::thread::hardware_concurrency();
  auto grants = [&](std::optional<int64_t> quota, std::optional<int64_t> period) {
    if (quota && period && *quota > 0 && *period > 0) cpus = std::min(cpus, double(*quota) / double(*period));
  };
  for_each_group(root, "cpu", [&](const Path& group) {
    auto quota = number_in(group / "cpu.max");
    if (quota) grants(quota, number_in(group / "cpu.max", std::to_string(*quota) + " "));
    grants(number_in(group / "cpu.cfs_quota_us"), number_in(group / "cpu.cfs_period_us"));
  });
  return std::max(1, static_cast<int>(std::ceil(cpus)));
}

}  // namespace textmill::base
