#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>

#include "base/error.h"
#include "base/hash.h"
#include "store/schema.h"
#include "store/store.h"

namespace textmill::store {

namespace {

namespace fs = std::filesystem;

void copy_durably(const base::Path& from, const base::Path& to) {
  fs::copy_file(from, to);
  int fd = ::open(to.c_str(), O_RDONLY | O_CLOEXEC);
  bool synced = fd >= 0 && ::fsync(fd) == 0;
  int code = errno;
  if (fd >= 0) ::close(fd);
  if (!synced) throw base::system_error(to.string(), code);
}

/// The blobs of a database file that are in files: path below objects/, size.
std::vector<std::pair<base::Path, uint64_t>> blob_files(const base::Path& database) {
  std::vector<std::pair<base::Path, uint64_t>> files;
  Connection connection(database, Connection::Mode::read);
  Rows rows = connection.query("SELECT lower(hex(hash)), size FROM blobs WHERE data IS NULL ORDER BY hash");
  while (rows.next()) {
    std::string name = rows.string(0);
    files.emplace_back(base::Path(name.substr(0, 2)) / name.substr(2), rows.integer(1));
  }
  return files;
}

/// Copies a database and the blobs that it names from one folder to another. The folder then holds nothing else.
void copy_all(const base::Path& database, const base::Path& objects, const base::Path& to) {
  fs::create_directories(to / "objects");
  fs::permissions(to, fs::perms::owner_all);
  if (database != to / "textmill.db") copy_durably(database, to / "textmill.db");
  for (const auto& [file, size] : blob_files(to / "textmill.db")) {
    fs::create_directories(to / "objects" / file.parent_path());
    copy_durably(objects / file, to / "objects" / file);
  }
  for (const auto& entry : fs::directory_iterator(to / "objects")) base::sync_folder(entry.path());
  base::sync_folder(to / "objects");
  base::sync_folder(to);
}

void examine_tables(Connection& connection, std::vector<std::string>& wrong) {
  Rows rows = connection.query("PRAGMA integrity_check(20)");
  while (rows.next())
    if (rows.text(0) != "ok") wrong.push_back(fmt::format("textmill.db: {}", rows.text(0)));
  Rows uses = connection.query(
      "SELECT lower(hex(b.hash)), b.uses, coalesce(r.n, 0) FROM blobs b LEFT JOIN (SELECT blob, count(*) AS "
      "n FROM"
      " (SELECT blob FROM objects UNION ALL SELECT blob FROM parts) GROUP BY blob) r ON r.blob = b.id"
      " WHERE b.uses != coalesce(r.n, 0)");
  while (uses.next())
    wrong.push_back(
        fmt::format("blob {}: counts {} uses, has {}", uses.text(0), uses.integer(1), uses.integer(2)));
  Rows lost = connection.query(
      "SELECT CAST(o.key AS TEXT) FROM objects o LEFT JOIN blobs b ON b.id = o.blob WHERE b.id IS NULL");
  while (lost.next()) wrong.push_back(fmt::format("object {}: its bytes are lost", lost.text(0)));
}

void examine_small(Connection& connection, std::vector<std::string>& wrong) {
  Rows rows = connection.query("SELECT lower(hex(hash)), data FROM blobs WHERE data IS NOT NULL");
  while (rows.next())
    if (base::sha256_hex(rows.text(1)) != rows.text(0))
      wrong.push_back(fmt::format("blob {}: its bytes are not those that it was made of", rows.text(0)));
}

}  // namespace

std::vector<std::string> examine(const base::Path& folder, bool deep) {
  std::vector<std::string> wrong;
  base::Path file = folder / "textmill.db";
  if (!fs::exists(file)) return {fmt::format("{}: not there", file.string())};
  {
    Connection connection(file, Connection::Mode::read);
    auto version = connection.integer("PRAGMA user_version").value_or(0);
    auto newest = static_cast<int64_t>(schema().size());
    if (version != newest)
      return {fmt::format("{}: of format {}, this textmill writes {}", file.string(), version, newest)};
    examine_tables(connection, wrong);
    if (deep) examine_small(connection, wrong);
  }
  for (const auto& [name, size] : blob_files(file)) {
    base::Path path = folder / "objects" / name;
    std::string hash = name.parent_path().string() + name.filename().string();
    if (!fs::exists(path))
      wrong.push_back(fmt::format("{}: not there", path.string()));
    else if (fs::file_size(path) != size)
      wrong.push_back(fmt::format("{}: {} bytes, expected {}", path.string(), fs::file_size(path), size));
    else if (deep && base::sha256_file(path) != hash)
      wrong.push_back(fmt::format("{}: its bytes are not those that it was made of", path.string()));
  }
  return wrong;
}

void Store::backup(const base::Path& to) {
  if (fs::exists(to)) throw base::Error(base::Kind::exists, fmt::format("{}: is there already", to.string()));
  base::Path parent = fs::absolute(to).lexically_normal().parent_path();
  if (!fs::is_directory(parent))
    throw base::Error(base::Kind::invalid, fmt::format("{}: not a folder", parent.string()));
  if (auto inside = fs::relative(parent, folder_); !inside.empty() && *inside.begin() != "..")
    throw base::Error(base::Kind::invalid, fmt::format("{}: inside the data folder", to.string()));
  base::Path part = to.string() + ".part";
  fs::remove_all(part);
  fs::create_directories(part);
  auto paused = blobs_.pause_sweeps();
  database_.copy_to(part / "textmill.db");
  copy_all(part / "textmill.db", blobs_.folder(), part);
  fs::rename(part, to);
  base::sync_folder(to.has_parent_path() ? to.parent_path() : ".");
}

void restore(const base::Path& backup, const base::Path& folder) {
  if (!fs::exists(backup / "textmill.db"))
    throw base::Error(base::Kind::invalid,
                      fmt::format("{}: not a backup: it holds no textmill.db", backup.string()));
  if (fs::exists(folder) && !fs::is_empty(folder))
    throw base::Error(base::Kind::exists, fmt::format("{}: not empty", folder.string()));
  if (auto wrong = examine(backup, true); !wrong.empty())
    throw base::Error(base::Kind::invalid, fmt::format("{} ({} findings in all)", wrong[0], wrong.size()));
  copy_all(backup / "textmill.db", backup / "objects", folder);
}

}  // namespace textmill::store
