#include "fleet/keep.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "base/hash.h"
#include "format/archive.h"

namespace textmill::fleet {

using base::Error, base::Kind, base::Path;

namespace {

std::string hex_of(std::string_view raw) {
  return base::hex({reinterpret_cast<const uint8_t*>(raw.data()), raw.size()});
}

struct Sums {
  base::Hasher sha256{base::HashKind::sha256}, md5{base::HashKind::md5};
  uint64_t size = 0;
  void add(std::string_view bytes) {
    sha256.update(bytes);
    md5.update(bytes);
    size += bytes.size();
  }
  KeptFile of(const Path& path) {
    return {path.filename().string(), size, hex_of(sha256.digest()), hex_of(md5.digest())};
  }
};

/// Calls with all bytes of an open file, piece by piece.
template <class F>
void read_all(int fd, const std::string& name, F&& piece) {
  std::string buffer(256 << 10, '\0');
  while (true) {
    ssize_t count = ::read(fd, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw base::system_error(name, errno);
    if (count == 0) return;
    piece(std::string_view(buffer.data(), static_cast<size_t>(count)));
  }
}

}  // namespace

Keeper::Keeper(Path root, Path kept) : root_(std::move(root)), kept_(std::move(kept)) {
  std::filesystem::create_directories(kept_);
  count_ = static_cast<size_t>(std::distance(std::filesystem::directory_iterator(kept_), {}));
}

Path Keeper::next() { return kept_ / std::to_string(count_++); }

base::Descriptor Keeper::open(const Path& relative, int flags) const {
  base::Descriptor root = base::open_file(root_, O_PATH | O_DIRECTORY);
  open_how how{};
  how.flags = static_cast<uint64_t>(flags) | O_CLOEXEC | O_NONBLOCK;  // a pipe does not hold us up
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  base::Descriptor file(
      static_cast<int>(::syscall(SYS_openat2, root.get(), relative.c_str(), &how, sizeof how)));
  if (!file) throw base::system_error((Path("/opt/ml") / relative).string(), errno);
  return file;
}

KeptFile Keeper::keep(const Path& relative) {
  base::Descriptor in = open(relative, O_RDONLY);
  struct stat before {
  }, after{};
  ::fstat(in.get(), &before);
  if (!S_ISREG(before.st_mode))
    throw Error(Kind::invalid, fmt::format("/opt/ml/{}: neither a file nor a folder", relative.string()));
  Path path = next();
  base::DurableFile out(path);
  Sums sums;
  read_all(in.get(), relative.string(), [&](std::string_view bytes) {
    sums.add(bytes);
    out.write(bytes);
  });
  ::fstat(in.get(), &after);
  if (before.st_size != after.st_size || before.st_mtim.tv_sec != after.st_mtim.tv_sec ||
      before.st_mtim.tv_nsec != after.st_mtim.tv_nsec)
    throw Error(Kind::conflict, fmt::format("/opt/ml/{}: written to while it was read", relative.string()));
  out.commit();
  return sums.of(path);
}

/// Links become relative ones that stay in the root, or are refused: packing follows them.
void Keeper::settle_links(const Path& folder) const {
  const Path root = std::filesystem::canonical(root_);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_symlink()) continue;
    Path target = std::filesystem::read_symlink(entry.path());
    Path inside = target.lexically_relative("/opt/ml");
    if (target.is_absolute() && !inside.empty() && *inside.begin() != "..") target = root / inside;
    std::error_code error;
    Path real = std::filesystem::canonical(
        target.is_absolute() ? target : entry.path().parent_path() / target, error);
    auto [at, end] = std::ranges::mismatch(root, real);
    if (error || at != root.end())
      throw base::Error(base::Kind::invalid,
                        fmt::format("{}: a link to {}, which is not a file under /opt/ml",
                                    (Path("/opt/ml") / entry.path().lexically_relative(root)).string(),
                                    std::filesystem::read_symlink(entry.path()).string()));
    if (!target.is_absolute()) continue;
    std::filesystem::remove(entry.path());
    std::filesystem::create_symlink(real, entry.path());
  }
}

KeptFile Keeper::pack(const Path& relative) {
  open(relative, O_RDONLY | O_DIRECTORY);
  settle_links(std::filesystem::canonical(root_ / relative));
  Path path = next();
  format::create_archive(root_ / relative, path);
  Sums sums;
  read_all(base::open_file(path, O_RDONLY).get(), path.string(),
           [&](std::string_view bytes) { sums.add(bytes); });
  return sums.of(path);
}

std::vector<std::pair<std::string, KeptFile>> Keeper::keep_all(const Path& relative) {
  open(relative, O_RDONLY | O_DIRECTORY);
  std::vector<std::pair<std::string, KeptFile>> out;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root_ / relative)) {
    if (entry.is_directory() && !entry.is_symlink()) continue;
    Path name = entry.path().lexically_relative(root_ / relative);
    out.emplace_back(name.string(), keep(relative / name));
  }
  std::ranges::sort(out, {}, [](const auto& one) { return one.first; });
  return out;
}

std::string Keeper::read(const Path& relative, size_t most) const {
  std::string text;
  try {
    base::Descriptor in = open(relative, O_RDONLY);
    text.resize(most);
    ssize_t count = ::read(in.get(), text.data(), text.size());
    text.resize(count < 0 ? 0 : static_cast<size_t>(count));
  } catch (const base::Error&) {
    text.clear();  // not there, or a link: then it says nothing
  }
  return text;
}

Checkpoints::Checkpoints(Path folder) : folder_(std::move(folder)), known_(list()) {}

std::map<std::string, Checkpoints::Seen> Checkpoints::list() const {
  std::map<std::string, Seen> out;
  std::error_code error;  // files come and go while the program writes
  std::filesystem::recursive_directory_iterator at(folder_, error), end;
  for (; !error && at != end; at.increment(error)) {
    std::error_code gone;
    if (at->is_symlink(gone) || !at->is_regular_file(gone)) continue;
    Seen seen{at->file_size(gone), at->last_write_time(gone)};
    if (!gone) out.emplace(at->path().lexically_relative(folder_).string(), seen);
  }
  return out;
}

std::vector<Checkpoints::Change> Checkpoints::look(bool all) {
  std::vector<Change> changes;
  auto now = list();
  auto settled = std::filesystem::file_time_type::clock::now() - std::chrono::seconds(1);
  for (const auto& [name, seen] : now) {
    auto before = known_.find(name);
    if (before != known_.end() && before->second == seen) continue;
    if (!all && seen.changed > settled && waiting_.insert(name).second) continue;
    waiting_.erase(name);
    known_.insert_or_assign(name, seen);
    changes.push_back({name});
  }
  for (auto at = known_.begin(); at != known_.end();) {
    bool gone = !now.contains(at->first);
    if (gone) changes.push_back({at->first, true});
    at = gone ? known_.erase(at) : std::next(at);
  }
  return changes;
}

}  // namespace textmill::fleet
