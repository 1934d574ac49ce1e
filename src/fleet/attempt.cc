#include "fleet/attempt.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <filesystem>

#include "base/error.h"
#include "base/process.h"
#include "fleet/limits.h"

namespace textmill::fleet {

namespace {

// Locks of open file descriptions: children share them, and asking for one does not take it.
struct flock whole_file() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

}  // namespace

base::Descriptor lock_attempt(const AttemptFolder& folder) {
  base::Descriptor file = base::open_file(folder.lock(), O_RDWR | O_CREAT, 0600);
  struct flock lock = whole_file();
  if (::fcntl(file.get(), F_OFD_SETLK, &lock) == 0) return file;
  if (errno == EAGAIN || errno == EACCES)
    throw base::Error(base::Kind::in_use, folder.lock().string() + ": another runner has this attempt");
  throw base::system_error(folder.lock().string(), errno);
}

bool is_alive(const AttemptFolder& folder) {
  base::Descriptor file(::open(folder.lock().c_str(), O_RDONLY | O_CLOEXEC));
  if (!file && errno == ENOENT) return false;
  struct flock lock = whole_file();
  if (!file || ::fcntl(file.get(), F_OFD_GETLK, &lock) != 0)
    throw base::system_error(folder.lock().string(), errno);
  return lock.l_type != F_UNLCK;
}

void await_end(const AttemptFolder& folder) {
  base::Descriptor file = base::open_file(folder.lock(), O_RDONLY);
  struct flock lock = whole_file();
  lock.l_type = F_RDLCK;
  while (::fcntl(file.get(), F_OFD_SETLKW, &lock) != 0)
    if (errno != EINTR) throw base::system_error(folder.lock().string(), errno);
}

bool was_begun(const AttemptFolder& folder) { return std::filesystem::exists(folder.journal()); }

void start_runner(const AttemptFolder& folder) {
  base::Path words = folder.path / "runner.log";
  base::Descriptor log = base::open_file(words, O_WRONLY | O_CREAT | O_APPEND, 0600);
  base::Process runner({.arguments = {std::filesystem::read_symlink("/proc/self/exe").string(), "runner",
                                      folder.path.string()},
                        .environment = {},
                        .output = log.get(),
                        .error = log.get()});
  if (runner.wait() != 0)
    throw base::Error(base::Kind::unavailable,
                      "the runner did not start: " + base::read_file(words, 1 << 20));
}

void ask_to_stop(const AttemptFolder& folder) { base::write_file_durably(folder.stop(), ""); }

void remove_attempt(const AttemptFolder& folder) {
  if (!std::filesystem::exists(folder.path)) return;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path)) {
    if (!entry.is_directory()) continue;
    std::string host = entry.path().filename();
    remove_groups(fmt::format("{}-{}", folder.path.filename().string(), host));
    // Overlays leave folders that their owner cannot read.
    std::error_code none;
    for (const auto& work : std::filesystem::directory_iterator(entry.path() / "work", none))
      std::filesystem::permissions(work.path() / "work", std::filesystem::perms::owner_all, none);
  }
  std::filesystem::remove_all(folder.path);
}

}  // namespace textmill::fleet
