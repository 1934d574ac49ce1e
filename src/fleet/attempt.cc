#include "fleet/attempt.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <filesystem>
#include <vector>

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

std::vector<AttemptFolder> attempts_in(const base::Path& data_folder) {
  std::vector<AttemptFolder> out;
  for (const char* kind : {"jobs", "attempts"}) {
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(data_folder / kind, none))
      out.push_back({entry.path()});
  }
  return out;
}

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

void open_up(const base::Path& folder) {
  using std::filesystem::perms, std::filesystem::perm_options;
  for (std::vector<base::Path> left{folder}; !left.empty();) {
    base::Path at = std::move(left.back());
    left.pop_back();
    std::error_code none;  // not ours: then who needs it says so
    std::filesystem::permissions(at, perms::owner_all, perm_options::add, none);
    std::filesystem::directory_iterator entry(at, none), end;
    for (; !none && entry != end; entry.increment(none)) {
      auto type = std::filesystem::symlink_status(entry->path(), none).type();
      if (type == std::filesystem::file_type::directory) left.push_back(entry->path());
      if (type == std::filesystem::file_type::regular)
        std::filesystem::permissions(entry->path(), perms::owner_read, perm_options::add, none);
      none.clear();
    }
  }
}

std::string shown(std::string words, const base::Path& folder, std::string_view as) {
  const std::string name = folder.string() + '/';
  for (size_t at = 0; (at = words.find(name, at)) != words.npos; at += as.size())
    words.replace(at, name.size(), as);
  return words;
}

void remove_attempt(const AttemptFolder& folder) {
  if (!std::filesystem::exists(folder.path)) return;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path)) {
    if (!entry.is_directory()) continue;
    std::string host = entry.path().filename();
    remove_groups(fmt::format("{}-{}", folder.path.filename().string(), host));
  }
  std::error_code closed;  // programs and overlays leave folders that their owner cannot read
  if (std::filesystem::remove_all(folder.path, closed); !closed) return;
  open_up(folder.path);
  std::filesystem::remove_all(folder.path);
}

}  // namespace textmill::fleet
