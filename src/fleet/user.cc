#include "fleet/user.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <sstream>

#include "base/error.h"

namespace textmill::fleet {

using base::Path;

namespace {

/// Of those that no distribution and no service manager gives to anybody
/// (https://systemd.io/UIDS-GIDS: 60706 to 61183), and below 65536, which containers map.
constexpr uid_t kProgram = 61'000;

/// A line of a map: first inside, first outside, how many.
bool is_mapped(const char* map) {
  std::istringstream lines(base::read_file(map, 1 << 16));
  for (uint64_t inside, outside, count; lines >> inside >> outside >> count;)
    if (inside <= kProgram && kProgram < inside + count) return true;
  return false;
}

void own(const Path& path, const User& user) {
  if (::lchown(path.c_str(), user.user, user.group) != 0) throw base::system_error(path.string(), errno);
}

}  // namespace

User program_user() {
  if (::geteuid() == 0 && is_mapped("/proc/self/uid_map") && is_mapped("/proc/self/gid_map"))
    return {kProgram, kProgram, true};
  return {::geteuid(), ::getegid(), false};
}

void give(const Path& path, const User& user, const Path& but) {
  if (!user.other) return;
  own(path, user);
  if (!std::filesystem::is_directory(std::filesystem::symlink_status(path))) return;
  for (auto at = std::filesystem::recursive_directory_iterator(path); at != end(at); ++at) {
    if (at->path() == but)
      at.disable_recursion_pending();
    else
      own(at->path(), user);
  }
}

void open_way(const Path& top, Path to, const User& user) {
  using std::filesystem::perms;
  auto [at, end] = std::mismatch(top.begin(), top.end(), to.begin(), to.end());
  if (!user.other || at != top.end()) return;
  for (;; to = to.parent_path()) {
    if (std::filesystem::is_directory(to))
      std::filesystem::permissions(to, perms::others_exec, std::filesystem::perm_options::add);
    if (to == top) return;
  }
}

}  // namespace textmill::fleet
