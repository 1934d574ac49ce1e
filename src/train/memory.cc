#include "train/memory.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <string>

namespace textmill::train {
namespace {

namespace fs = std::filesystem;
using base::Path;

/// The number that follows `key`, or begins the file; nothing if there is none, such as "max".
std::optional<int64_t> number_in(const Path& file, std::string_view key = "") {
  if (!fs::exists(file)) return {};
  std::string text = base::read_file(file);
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

/// What the control group (version 2) of `folder` and those above it leave. File pages that can be dropped do not count.
int64_t left_by_groups(const Path& top, const Path& folder) {
  int64_t left = INT64_MAX;
  for (Path group = folder;; group = group.parent_path()) {
    auto most = number_in(group / "memory.max"), used = number_in(group / "memory.current");
    if (most && used) {
      int64_t droppable = number_in(group / "memory.stat", "inactive_file").value_or(0);
      left = std::min(left, *most - *used + droppable);
    }
    if (group == top || !group.has_relative_path()) return left;
  }
}

}  // namespace

int64_t available_memory(const Path& root) {
  int64_t left = number_in(root / "proc/meminfo", "MemAvailable").value_or(INT64_MAX / 1024) * 1024;
  Path top = root / "sys/fs/cgroup";
  std::string groups =
      fs::exists(root / "proc/self/cgroup") ? base::read_file(root / "proc/self/cgroup") : "";
  size_t unified = groups.find("0::/");
  std::string name = unified == std::string::npos
                         ? ""
                         : groups.substr(unified + 4, groups.find('\n', unified) - unified - 4);
  return std::max<int64_t>(0, std::min(left, left_by_groups(top, name.empty() ? top : top / name)));
}

}  // namespace textmill::train
