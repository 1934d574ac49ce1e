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
#include "base/utf8.h"
#include "format/archive.h"

namespace textmill::fleet {

using base::Error, base::Kind, base::Path;

namespace {

struct Sums {
  base::Hasher sha256{base::HashKind::sha256}, md5{base::HashKind::md5};
  uint64_t size = 0;
  void add(std::string_view bytes) {
    sha256.update(bytes);
    md5.update(bytes);
    size += bytes.size();
  }
  KeptFile of(const Path& path) {
    return {path.filename().string(), size, base::hex(sha256.digest()), base::hex(md5.digest())};
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

/// Errors say what the program calls it.
base::Descriptor open_beneath(const Path& root, const Path& relative, int flags) {
  base::Descriptor top = base::open_file(root, O_PATH | O_DIRECTORY);
  open_how how{};
  how.flags = static_cast<uint64_t>(flags) | O_CLOEXEC | O_NONBLOCK;  // a pipe does not hold us up
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  base::Descriptor file(
      static_cast<int>(::syscall(SYS_openat2, top.get(), relative.c_str(), &how, sizeof how)));
  const std::string name = (Path("/opt/ml") / relative).string();
  if (!file && errno == ELOOP) throw Error(Kind::denied, name + ": there is a link on the way to it");
  if (!file) throw base::system_error(name, errno);
  return file;
}

}  // namespace

Keeper::Keeper(Path root, Path kept) : root_(std::move(root)), kept_(std::move(kept)) {
  std::filesystem::create_directories(kept_);
}

Path Keeper::next() {
  while (std::filesystem::exists(kept_ / std::to_string(count_))) ++count_;  // others keep there too
  return kept_ / std::to_string(count_);
}

base::Descriptor Keeper::open(const Path& relative, int flags) const {
  return open_beneath(root_, relative, flags);
}

KeptFile Keeper::keep(const Path& relative) { return take(open(relative, O_RDONLY), relative); }

KeptFile Keeper::take(base::Descriptor in, const Path& relative) {
  if (base::invalid_utf8(relative.native()))
    throw Error(Kind::invalid, fmt::format("/opt/ml/{}: the name of an object is UTF-8", relative.string()));
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

/// Where a link leads on this machine, as its program saw it: under the root, or in its inputs, which lie elsewhere; they
/// and what was changed in them.
Path Keeper::target_of(const Path& link, int hops) const {
  const Path root = std::filesystem::canonical(root_), target = std::filesystem::read_symlink(link);
  auto within = [](const Path& folder, const Path& path) {
    std::error_code none;
    Path real = std::filesystem::canonical(path, none);
    return !none && std::ranges::mismatch(folder, real).in1 == folder.end() ? real : Path();
  };
  Path inside = target.lexically_relative("/opt/ml");
  if (!target.is_absolute() || inside.empty() || *inside.begin() == "..")
    inside = (link.parent_path() / target).lexically_normal().lexically_relative(root);
  Path found = within(root, target.is_absolute() ? root / inside : link.parent_path() / target);
  if (found.empty() && hops > 0 && std::filesystem::is_symlink(root / inside))
    return target_of(root / inside, hops - 1);
  Path input = inside.lexically_relative("input/data");
  if (input.empty() || *input.begin() == "..") return found;
  for (const char* place : {"upper", "input"})
    if (found.empty()) found = within(root.parent_path() / place, root.parent_path() / place / input);
  return found;
}

/// Links lead to files from here on, or are relative ones to folders below where they stand; else they are refused.
void Keeper::settle_links(const Path& folder) const {
  const Path root = std::filesystem::canonical(root_);
  std::map<Path, Path> links;  // all of them are looked at before one is changed
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    auto refuse = [&](const std::string& what) {
      Path seen = Path("/opt/ml") / entry.path().lexically_relative(root);
      throw Error(Kind::invalid, fmt::format("{}: {}", seen.string(), what));
    };
    if (!entry.is_symlink() && !entry.is_directory() && !entry.is_regular_file())
      refuse("neither a file nor a folder");
    if (!entry.is_symlink()) continue;
    const std::string text = std::filesystem::read_symlink(entry.path()).string();
    Path target = target_of(entry.path());
    if (std::filesystem::is_directory(target)) {
      target = target.lexically_relative(entry.path().parent_path());
      if (target == "." || *target.begin() == "..")
        refuse(fmt::format("a link to {}, a folder that does not lie beside or below it", text));
    } else if (!std::filesystem::is_regular_file(target)) {
      refuse(fmt::format("a link to {}, which is not a file under /opt/ml", text));
    }
    links[entry.path()] = target;
  }
  for (const auto& [link, target] : links) {
    std::filesystem::remove(link);
    std::filesystem::create_symlink(target, link);
  }
}

bool Keeper::is_filled(const Path& relative) const {
  try {
    open(relative, O_RDONLY | O_DIRECTORY);
  } catch (const Error& error) {
    if (error.kind() == Kind::not_found) return false;
    throw;
  }
  return !std::filesystem::is_empty(root_ / relative);
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

std::vector<std::pair<std::string, KeptFile>> Keeper::keep_all(const Path& relative,
                                                               std::vector<std::string>& left_out) {
  open(relative, O_RDONLY | O_DIRECTORY);
  const Path folder = std::filesystem::canonical(root_ / relative);
  settle_links(folder);
  std::vector<std::pair<std::string, KeptFile>> out;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    Path name = entry.path().lexically_relative(folder);
    if (!entry.is_directory())
      out.emplace_back(name.string(), take(base::open_file(entry.path(), O_RDONLY), relative / name));
    else if (entry.is_symlink())
      left_out.push_back(
          fmt::format("/opt/ml/{}: a link to a folder, which is no object: only what is in the folder was "
                      "kept, under its own name",
                      (relative / name).string()));
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

SyncedFolder::SyncedFolder(Path root, Path folder)
    : root_(std::move(root)), folder_(std::move(folder)), known_(list().files) {}

SyncedFolder::Listing SyncedFolder::list() const {
  Listing out;
  base::Descriptor top;
  try {
    top = open_beneath(root_, folder_, O_RDONLY | O_DIRECTORY);
  } catch (const Error& error) {
    if (error.kind() != Kind::not_found) throw;
    return out;
  }
  const Path folder = fmt::format("/proc/self/fd/{}", top.get());
  std::error_code error;  // files come and go while the program writes
  std::filesystem::recursive_directory_iterator at(folder, error), end;
  for (; !error && at != end; at.increment(error)) {
    std::error_code gone;
    if (at->is_symlink(gone) || !at->is_regular_file(gone)) continue;
    Seen seen{at->file_size(gone), at->last_write_time(gone)};
    if (!gone) out.files.emplace(at->path().lexically_relative(folder).string(), seen);
  }
  out.whole = !error;
  return out;
}

std::vector<SyncedFolder::Change> SyncedFolder::look(bool all) {
  std::vector<Change> changes;
  const auto [now, whole] = list();
  auto settled = std::filesystem::file_time_type::clock::now() - std::chrono::seconds(1);
  for (const auto& [name, seen] : now) {
    auto before = known_.find(name);
    if (before != known_.end() && before->second == seen) continue;
    if (!all && seen.changed > settled && waiting_.insert(name).second) continue;
    waiting_.erase(name);
    known_.insert_or_assign(name, seen);
    changes.push_back({name});
  }
  for (auto at = known_.begin(); whole && at != known_.end();) {
    bool gone = !now.contains(at->first);
    if (gone) changes.push_back({at->first, true});
    at = gone ? known_.erase(at) : std::next(at);
  }
  return changes;
}

void Synced::look(bool all, const std::function<void(const std::string&, const SyncedFolder::Change&)>& take,
                  const std::function<void(const std::string&, const std::string&)>& say) {
  auto has = [](const auto& name) { return [&](const auto& host) { return host.second.has(name); }; };
  for (auto& [host, folder] : hosts) {
    try {
      for (const auto& change : folder.look(all))
        if (!change.gone || std::ranges::none_of(hosts, has(change.name))) take(host, change);
    } catch (const Error& error) {  // a link is in the way
      if (said.insert(host).second)
        say(host, fmt::format("Nothing is kept of {}: {}", path.string(), error.what()));
    }
  }
}

}  // namespace textmill::fleet
