#include "fleet/shortage.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "fleet/attempt.h"
#include "fleet/cache.h"

namespace textmill::fleet {
namespace {

constexpr uint64_t kAlmostNothing = kLeastFree / 2;
constexpr uint64_t kLittle = 1 << 20;  // a log's growth fills no disk

uint64_t free_at(const base::Path& folder) {
  std::error_code error;
  auto space = std::filesystem::space(folder, error);
  return error ? kLeastFree : space.available;
}

bool is_short(const base::Path& folder) { return free_at(folder) < kLeastFree; }

}  // namespace

bool is_of_full_disk(const std::exception& error, const base::Path& folder) {
  const auto* ours = dynamic_cast<const base::Error*>(&error);
  const auto* systems = dynamic_cast<const std::system_error*>(&error);
  return is_short(folder) && ((ours && ours->kind() == base::Kind::unavailable) ||
                              (systems && systems->code() == std::errc::no_space_on_device));
}

void make_room(const AttemptFolder& folder, const Task& task, Left left) {
  if (!is_short(folder.path)) return;
  std::error_code ignored;  // what cannot be removed goes with the attempt
  for (const auto& host : task.hosts) {
    if (::geteuid() != 0) open_up(folder.path / host);
    std::filesystem::directory_iterator entry(folder.path / host, ignored), end;
    for (; !ignored && entry != end; entry.increment(ignored)) {
      const base::Path name = entry->path().filename();  // links of a model may lead to its inputs
      if (left == Left::nothing || name == "tmp" || name == "container")
        std::filesystem::remove_all(entry->path(), ignored);
    }
  }
}

Shortage::Shortage(base::Path folder) : folder_(std::move(folder)) {
  // The clock that files have their times from, which is behind the other by up to a tick.
  ::clock_gettime(CLOCK_REALTIME_COARSE, &begun_);
}

bool Shortage::is_ours() {
  uint64_t free = free_at(folder_);
  if (free >= kLeastFree) return before_.reset(), false;
  uint64_t now = written();
  auto before = std::exchange(before_, now);
  return (before && now > *before + kLittle) || (free < kAlmostNothing && now >= (kLeastFree - free) / 2);
}

/// Bytes of files that changed since the program began. A program can set any of their times but this one.
uint64_t Shortage::written() const {
  uint64_t bytes = 0;
  std::error_code gone;  // files come and go where something runs
  std::filesystem::recursive_directory_iterator at(
      folder_, std::filesystem::directory_options::skip_permission_denied, gone),
      end;
  for (; !gone && at != end; at.increment(gone)) {
    struct stat status {};
    if (::lstat(at->path().c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    const timespec& changed = status.st_ctim;
    if (std::tie(changed.tv_sec, changed.tv_nsec) >= std::tie(begun_.tv_sec, begun_.tv_nsec))
      bytes += static_cast<uint64_t>(status.st_blocks) * 512;
  }
  return bytes;
}

}  // namespace textmill::fleet
