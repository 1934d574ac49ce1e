#include "fleet/limits.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/error.h"
#include "base/machine.h"

namespace textmill::fleet {

using base::Path;

namespace {

constexpr int kPeriod = 100'000;  // microseconds

bool write_to(const Path& file, const std::string& text) {
  base::Descriptor out(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  return out && ::write(out.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

const Path kTop = "/sys/fs/cgroup";

/// Where the group of that name is, or would be, for one controller of version 1 or for version 2 ("").
std::vector<std::pair<std::string, Path>> folders_of(const std::string& name) {
  std::vector<std::pair<std::string, Path>> out;
  for (const base::ControlGroup& place : base::control_groups()) {
    Path relative = Path(place.path).relative_path() / ("textmill-" + name);
    if (place.controllers.empty() && std::filesystem::exists(kTop / "cgroup.controllers"))
      out.emplace_back("", kTop / relative);
    for (const char* controller : {"memory", "pids", "cpu"})
      if (place.has(controller)) out.emplace_back(controller, kTop / controller / relative);
  }
  return out;
}

bool limit(const std::string& controller, const Path& folder, const Limits& limits) {
  std::string quota = fmt::format("{}", static_cast<int64_t>(limits.cpus * kPeriod));
  bool two = controller.empty(), ok = true;
  if (limits.memory && (two || controller == "memory"))
    ok &= write_to(folder / (two ? "memory.max" : "memory.limit_in_bytes"), std::to_string(limits.memory));
  if (limits.processes && (two || controller == "pids"))
    ok &= write_to(folder / "pids.max", std::to_string(limits.processes));
  if (limits.cpus > 0 && (two || controller == "cpu"))
    ok &= two ? write_to(folder / "cpu.max", fmt::format("{} {}", quota, kPeriod))
              : write_to(folder / "cpu.cfs_quota_us", quota);
  return ok;
}

}  // namespace

LimitGroups make_groups(const std::string& name, const Limits& limits) {
  remove_groups(name);
  LimitGroups groups;
  std::string by;
  for (const auto& [controller, folder] : folders_of(name)) {
    if (::mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) continue;
    if (!limit(controller, folder, limits)) {
      ::rmdir(folder.c_str());
      continue;
    }
    groups.folders.push_back(folder);
    by += fmt::format("{}{}", by.empty() ? "" : ", ", controller.empty() ? "all" : controller);
  }
  groups.said = groups.folders.empty()
                    ? "Limits: rlimit and nice, as cgroups are not ours to make here."
                    : fmt::format("Limits: cgroup {} ({}).",
                                  std::filesystem::exists(kTop / "cgroup.controllers") ? "v2" : "v1", by);
  return groups;
}

std::vector<base::Descriptor> doors(const LimitGroups& groups) {
  std::vector<base::Descriptor> out;
  for (const Path& folder : groups.folders)
    out.push_back(base::open_file(folder / "cgroup.procs", O_WRONLY | O_CLOEXEC));
  return out;
}

void join(const std::vector<base::Descriptor>& doors) {
  for (const auto& door : doors)
    if (::write(door.get(), "0", 1) != 1) throw base::system_error("cgroup.procs", errno);
}

bool ran_out_of_memory(const LimitGroups& groups) {
  for (const Path& folder : groups.folders)
    for (const char* name : {"memory.oom_control", "memory.events"}) {
      if (!std::filesystem::exists(folder / name)) continue;
      std::string text = base::read_file(folder / name, 1 << 16);
      size_t at = text.find("oom_kill ");
      if (at != text.npos && text[at + 9] != '0') return true;
    }
  return false;
}

void apply(const LimitGroups& groups, const Limits& limits) {
  auto set = [](__rlimit_resource_t resource, int64_t most) {
    rlimit value{static_cast<rlim_t>(most), static_cast<rlim_t>(most)};
    ::setrlimit(resource, &value);
  };
  if (limits.file) set(RLIMIT_FSIZE, limits.file);
  set(RLIMIT_CORE, 0);
  if (!groups.folders.empty()) return;
  if (limits.memory) set(RLIMIT_DATA, limits.memory);
  if (limits.processes) set(RLIMIT_NPROC, limits.processes);
  ::setpriority(PRIO_PROCESS, 0, 5);
}

void remove_groups(const std::string& name) {
  for (const auto& [controller, folder] : folders_of(name)) ::rmdir(folder.c_str());
}

}  // namespace textmill::fleet
