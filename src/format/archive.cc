#include "format/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <vector>

#include "base/error.h"

namespace textmill::format {

using base::Descriptor;
using base::Error;
using base::Kind;
using base::Path;

namespace {

constexpr size_t kPiece = size_t{1} << 16;
constexpr mode_t kOwnerAll = S_IRUSR | S_IWUSR | S_IXUSR;

struct Closer {
  void operator()(archive* a) const { archive_free(a); }
  void operator()(archive_entry* e) const { archive_entry_free(e); }
};
using Archive = std::unique_ptr<archive, Closer>;
using Entry = std::unique_ptr<archive_entry, Closer>;

/// What the files are to be: some files below a folder, or all of a program's.
enum class Purpose { files, root };

/// The parts of a relative name; nothing if it goes up, or is absolute where that leads elsewhere.
std::optional<std::vector<std::string>> safe_parts(const char* name, Purpose purpose = Purpose::files) {
  std::vector<std::string> parts;
  Path path(name ? name : "");
  if (purpose == Purpose::root) path = path.relative_path();
  if (path.is_absolute()) return std::nullopt;
  for (const Path& part : path) {
    if (part == "..") return std::nullopt;
    if (!part.empty() && part != ".") parts.push_back(part.string());
  }
  return parts;
}

class Extraction {
 public:
  Extraction(const Path& source, const Path& folder, const ArchiveLimits& limits, std::string_view called,
             Purpose purpose)
      : source_(called.empty() ? source.string() : called),
        limits_(limits),
        purpose_(purpose),
        folder_(base::open_file(folder, O_RDONLY | O_DIRECTORY)) {
    archive_read_support_format_tar(archive_.get());
    archive_read_support_filter_gzip(archive_.get());
    archive_read_support_filter_zstd(archive_.get());
    if (archive_read_open_filename(archive_.get(), source.c_str(), kPiece) != ARCHIVE_OK) fail_reading();
  }

  void run() {
    for (uint64_t count = 0;; ++count) {
      archive_entry* entry;
      int code = archive_read_next_header(archive_.get(), &entry);
      if (code == ARCHIVE_EOF) return;
      if (code < ARCHIVE_WARN) fail_reading();
      if (count == limits_.entries) {
        throw Error(Kind::limit, fmt::format("{}: more than {} entries", source_, limits_.entries));
      }
      name_ = archive_entry_pathname(entry) ? archive_entry_pathname(entry) : "";
      extract(entry);
    }
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    throw Error(Kind::invalid, fmt::format("{}: entry \"{}\": {}", source_, name_, what));
  }
  [[noreturn]] void fail_reading() const {
    int code = archive_errno(archive_.get());
    if (code == ENOENT || code == EACCES) throw base::system_error(source_, code);
    const char* reason = archive_error_string(archive_.get());
    throw Error(Kind::invalid,
                fmt::format("{}: not a readable tar archive: {}", source_, reason ? reason : "?"));
  }
  [[noreturn]] void fail_writing(int code) const {
    // What the archive put in the way is the archive's fault.
    if (code == ELOOP || code == ENOTDIR || code == EISDIR || code == EEXIST || code == ENOTEMPTY) {
      refuse("goes through a link or a file, or replaces a folder");
    }
    throw base::system_error(fmt::format("{}: entry \"{}\"", source_, name_), code);
  }

  void extract(archive_entry* entry) {
    // "/" is how some pack the folder itself: SageMaker's SDK does.
    if (name_ == "/" && archive_entry_filetype(entry) == AE_IFDIR) return;
    auto parts = safe_parts(name_.c_str(), purpose_);
    if (!parts) refuse("a name outside the folder");
    if (parts->empty()) return;  // the folder itself
    std::string leaf = parts->back();
    parts->pop_back();
    Descriptor parent = open_folder(*parts);
    if (archive_entry_hardlink(entry)) return link(entry, parent, leaf);
    switch (archive_entry_filetype(entry)) {
      case AE_IFDIR: {
        Descriptor made = make_folder(parent.get(), leaf);
        if (purpose_ == Purpose::root) set_mode(made, archive_entry_perm(entry), kOwnerAll);
        return;
      }
      case AE_IFREG: return write_file(entry, parent, leaf);
      case AE_IFLNK: return symlink(entry, parent, leaf);
      default:
        if (purpose_ == Purpose::files) refuse("neither a file, a folder nor a link");
    }
  }

  /// As the archive says, whatever the umask, but for what would give it another's rights; `owner`: besides.
  void set_mode(const Descriptor& made, mode_t mode, mode_t owner) {
    if (::fchmod(made.get(), (mode & ~mode_t{S_ISUID | S_ISGID}) | owner) != 0) fail_writing(errno);
  }

  Descriptor make_folder(int parent, const std::string& leaf) {
    bool fresh = ::mkdirat(parent, leaf.c_str(), 0755) == 0;
    if (!fresh && errno != EEXIST) fail_writing(errno);
    Descriptor folder(::openat(parent, leaf.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!folder) fail_writing(errno);
    if (fresh && purpose_ == Purpose::root) set_mode(folder, 0755, 0);
    return folder;
  }

  /// Walks down from the root, never through a link, making what is missing.
  Descriptor open_folder(const std::vector<std::string>& parts) {
    Descriptor at(::dup(folder_.get()));
    for (const std::string& part : parts) at = make_folder(at.get(), part);
    return at;
  }

  void clear_way(const Descriptor& parent, const std::string& leaf) {
    if (::unlinkat(parent.get(), leaf.c_str(), 0) != 0 && errno != ENOENT) fail_writing(errno);
  }

  void write_file(archive_entry* entry, const Descriptor& parent, const std::string& leaf) {
    clear_way(parent, leaf);
    mode_t mode = archive_entry_perm(entry) & 0111 ? 0755 : 0644;
    Descriptor file(
        ::openat(parent.get(), leaf.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
    if (!file) fail_writing(errno);
    char piece[kPiece];
    while (true) {
      la_ssize_t n = archive_read_data(archive_.get(), piece, sizeof piece);
      if (n < 0) fail_reading();
      if (n == 0) break;
      written_ += static_cast<uint64_t>(n);
      if (written_ > limits_.bytes) {
        throw Error(Kind::limit, fmt::format("{}: more than {} bytes unpacked", source_, limits_.bytes));
      }
      if (!base::write_all(file.get(), {piece, static_cast<size_t>(n)})) fail_writing(errno);
    }
    if (purpose_ == Purpose::files) return;
    set_mode(file, archive_entry_perm(entry), S_IRUSR | S_IWUSR);
    timespec changed{.tv_sec = archive_entry_mtime(entry), .tv_nsec = archive_entry_mtime_nsec(entry)};
    const timespec times[] = {changed, changed};
    if (archive_entry_mtime_is_set(entry) && ::futimens(file.get(), times) != 0) fail_writing(errno);
  }

  // Links only lead downwards, so whatever chain of them leads nowhere outside; those of a root are for who sees only that.
  void symlink(archive_entry* entry, const Descriptor& parent, const std::string& leaf) {
    const char* target = archive_entry_symlink(entry);
    auto parts = safe_parts(target);
    bool safe = purpose_ == Purpose::root ? target && *target : parts && !parts->empty();
    if (!safe) refuse(fmt::format("a link to \"{}\"", target ? target : ""));
    clear_way(parent, leaf);
    if (::symlinkat(target, parent.get(), leaf.c_str()) != 0) fail_writing(errno);
  }

  void link(archive_entry* entry, const Descriptor& parent, const std::string& leaf) {
    const char* target = archive_entry_hardlink(entry);
    auto parts = safe_parts(target, purpose_);
    if (!parts || parts->empty()) refuse(fmt::format("a link to \"{}\"", target));
    std::string target_leaf = parts->back();
    parts->pop_back();
    Descriptor from = open_folder(*parts);
    clear_way(parent, leaf);
    if (::linkat(from.get(), target_leaf.c_str(), parent.get(), leaf.c_str(), 0) != 0) {
      refuse(fmt::format("a link to \"{}\", which is not there", target));
    }
  }

  const std::string source_;  // what it is called
  const ArchiveLimits limits_;
  const Purpose purpose_;
  Descriptor folder_;
  Archive archive_{archive_read_new()};
  std::string name_;  // of the entry at hand
  uint64_t written_ = 0;
};

la_ssize_t write_piece(archive* a, void* file, const void* bytes, size_t size) {
  try {
    static_cast<base::DurableFile*>(file)->write({static_cast<const char*>(bytes), size});
    return static_cast<la_ssize_t>(size);
  } catch (const Error& error) {  // back through a C library
    archive_set_error(a, EIO, "%s", error.what());
    return -1;
  }
}

}  // namespace

void extract_archive(const Path& archive, const Path& folder, const ArchiveLimits& limits,
                     std::string_view called) {
  Extraction(archive, folder, limits, called, Purpose::files).run();
}

void extract_root(const Path& archive, const Path& folder, const ArchiveLimits& limits,
                  std::string_view called) {
  Extraction(archive, folder, limits, called, Purpose::root).run();
}

void create_archive(const Path& folder, const Path& archive) {
  base::DurableFile file(archive);
  Archive out(archive_write_new());
  auto check = [&](int code) {
    if (code < ARCHIVE_WARN) {
      throw Error(Kind::unavailable,
                  fmt::format("{}: {}", archive.string(), archive_error_string(out.get())));
    }
  };
  check(archive_write_set_format_pax_restricted(out.get()));
  check(archive_write_add_filter_gzip(out.get()));
  check(archive_write_set_options(out.get(), "gzip:!timestamp"));
  check(archive_write_open(out.get(), &file, nullptr, write_piece, nullptr));

  std::vector<Path> names;
  for (const auto& item : std::filesystem::recursive_directory_iterator(folder)) {
    names.push_back(item.path().lexically_relative(folder));
  }
  std::sort(names.begin(), names.end());
  for (const Path& name : names) {
    Path path = folder / name;
    bool is_folder = std::filesystem::is_directory(path);
    bool is_link = is_folder && std::filesystem::is_symlink(path);
    if (!is_folder && !std::filesystem::is_regular_file(path)) {
      throw Error(Kind::invalid, path.string() + ": neither a file nor a folder");
    }
    if (is_link && !safe_parts(std::filesystem::read_symlink(path).c_str()))
      throw Error(Kind::invalid, path.string() + ": a link to a folder that is not below");
    base::MappedFile content = is_folder ? base::MappedFile() : base::MappedFile(path);
    auto permissions = std::filesystem::status(path).permissions();
    bool executable =
        is_folder || (permissions & std::filesystem::perms::owner_exec) != std::filesystem::perms::none;
    Entry entry(archive_entry_new());
    archive_entry_set_pathname(entry.get(), name.c_str());
    archive_entry_set_filetype(entry.get(), is_link ? AE_IFLNK : is_folder ? AE_IFDIR : AE_IFREG);
    if (is_link) archive_entry_set_symlink(entry.get(), std::filesystem::read_symlink(path).c_str());
    archive_entry_set_perm(entry.get(), executable ? 0755 : 0644);
    archive_entry_set_size(entry.get(), static_cast<la_int64_t>(content.bytes().size()));
    archive_entry_set_mtime(entry.get(), 0, 0);
    check(archive_write_header(out.get(), entry.get()));
    if (archive_write_data(out.get(), content.bytes().data(), content.bytes().size()) < 0)
      check(ARCHIVE_FATAL);
  }
  check(archive_write_close(out.get()));
  file.commit();
}

}  // namespace textmill::format
