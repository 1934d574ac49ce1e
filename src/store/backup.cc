#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/hash.h"
#include "format/json.h"
#include "store/log_block.h"
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

/// Copies the blobs that a database names.
void copy_blobs(const base::Path& database, const base::Path& objects, const base::Path& to) {
  fs::create_directories(to / "objects");
  for (const auto& [file, size] : blob_files(database)) {
    fs::create_directories(to / "objects" / file.parent_path());
    copy_durably(objects / file, to / "objects" / file);
  }
  for (const auto& entry : fs::directory_iterator(to / "objects")) base::sync_folder(entry.path());
  base::sync_folder(to / "objects");
  base::sync_folder(to);
}

constexpr uint64_t kRoom = 1 << 20;              // a disk with less is full
constexpr std::string_view kMaking = ".making";  // in a backup's folder, locked while it is written

/// The folder of a backup that is being made, its lock held. What is left of one that was cut off is removed. Throws
/// in_use if another makes one there, exists if it is nobody's backup.
base::FileLock make_part(const base::Path& part) {
  if (!fs::create_directory(part)) {
    if (!fs::exists(part / kMaking))
      throw base::Error(
          base::Kind::exists,
          fmt::format("{}: is there already, and is no backup that was cut off", part.string()));
    base::FileLock cut_off(part / kMaking);
    fs::remove_all(part);
    if (!fs::create_directory(part))
      throw base::Error(base::Kind::in_use, part.string() + ": another backup began there meanwhile");
  }
  fs::permissions(part, fs::perms::owner_all);
  return base::FileLock(part / kMaking);
}

/// Each row of a query is a finding.
struct Check {
  int64_t since;  // the format whose tables it asks
  std::string_view sql;
};
constexpr Check kQuick[] = {
    {1,
     "SELECT 'textmill.db: ' || integrity_check FROM pragma_integrity_check(20) WHERE integrity_check != "
     "'ok'"},
    {1, R"sql(SELECT 'textmill.db: a row of ' || "table" || ' belongs to none of ' || parent
          FROM pragma_foreign_key_check)sql"},
    {1,
     R"sql(SELECT 'blob ' || lower(hex(hash)) || ': counts ' || uses || ' uses, has ' || coalesce(n, 0) FROM blobs
          LEFT JOIN (SELECT blob, count(*) AS n FROM (SELECT blob FROM objects UNION ALL SELECT blob FROM parts)
                     GROUP BY blob) ON blob = id
          WHERE uses != coalesce(n, 0))sql"},
    {1, R"sql(SELECT 'object ' || CAST(key AS TEXT) || ': its bytes are lost' FROM objects
          WHERE blob NOT IN (SELECT id FROM blobs))sql"},
    {1, R"sql(SELECT 'object ' || CAST(key AS TEXT) || ': of ' || o.size || ' bytes, has ' || b.size
          FROM objects o JOIN blobs b ON b.id = o.blob WHERE o.size != b.size)sql"},
    {1, R"sql(SELECT 'upload ' || upload || ', part ' || number || ': its bytes are lost' FROM parts
          WHERE blob NOT IN (SELECT id FROM blobs))sql"},
    {2, R"sql(SELECT kind || ' ' || name || ': is ' || status || ', but attempt ' || number || ' is open'
          FROM resources r JOIN attempts a ON a.resource = r.id
          WHERE NOT closed AND status IN ('Completed', 'Failed', 'Stopped'))sql"},
    {1, R"sql(SELECT 'log stream ' || name || ': its group is lost' FROM log_streams
          WHERE log_group IS NOT NULL AND log_group NOT IN (SELECT id FROM resources))sql"},
    {1,
     R"sql(SELECT 'log stream ' || name || ': counts ' || bytes || ' bytes, has ' || coalesce(n, 0) FROM log_streams
          LEFT JOIN (SELECT stream, sum(bytes) AS n FROM log_blocks GROUP BY stream) ON stream = id
          WHERE log_group IS NOT NULL AND bytes != coalesce(n, 0))sql"},
    {1, R"sql(SELECT 'metric ' || name || ': a point that cannot be, at ' || time || ', step ' || step
          FROM metric_points JOIN metric_series ON id = series
          WHERE step NOT IN (1, 60, 300, 3600) OR time % step != 0 OR length(known) % 16 != 0
             OR minimum > maximum)sql"}};

/// By the parser that reads them.
void examine_properties(Connection& connection, std::vector<std::string>& wrong) {
  Rows rows = connection.query(
      R"sql(SELECT kind || ' ' || name, body FROM resources UNION ALL
            SELECT 'bucket ' || name, properties FROM buckets UNION ALL
            SELECT 'object ' || CAST(key AS TEXT), properties FROM objects UNION ALL
            SELECT 'upload ' || id, properties FROM uploads UNION ALL
            SELECT 'upload ' || upload || ', part ' || number, properties FROM parts)sql");
  while (rows.next()) try {
      format::parse_json(rows.text(1), "");
    } catch (const base::Error&) {
      wrong.push_back(fmt::format("{}: its properties are no JSON", rows.text(0)));
    }
}

void examine_blobs(Connection& connection, std::vector<std::string>& wrong) {
  Rows rows = connection.query("SELECT lower(hex(hash)), data FROM blobs WHERE data IS NOT NULL");
  while (rows.next())
    if (base::sha256_hex(rows.text(1)) != rows.text(0))
      wrong.push_back(fmt::format("blob {}: its bytes are not those that it was made of", rows.text(0)));
}

void examine_logs(Connection& connection, std::vector<std::string>& wrong) {
  Rows rows = connection.query(
      "SELECT s.name, b.first, b.last, b.bytes, b.data FROM log_blocks b JOIN log_streams s ON s.id = "
      "b.stream");
  while (rows.next()) try {
      LogBlock block(rows.text(4));
      int64_t first = INT64_MAX, last = INT64_MIN, bytes = 0;
      for (const LogEventView& event : block.events()) {
        first = std::min(first, event.time);
        last = std::max(last, event.time);
        bytes += static_cast<int64_t>(event.message.size());
      }
      if (first != rows.integer(1) || last != rows.integer(2) || bytes != rows.integer(3))
        wrong.push_back(fmt::format("log stream {}: {} bytes from {} to {} where {} from {} to {} should be",
                                    rows.text(0), bytes, first, last, rows.integer(3), rows.integer(1),
                                    rows.integer(2)));
    } catch (const base::Error& error) {
      wrong.push_back(fmt::format("log stream {}: {}", rows.text(0), error.what()));
    }
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
    if (version < 1 || version > newest)  // an older one is migrated when a server takes it
      return {fmt::format("{}: of format {}, this textmill reads 1 to {}", file.string(), version, newest)};
    for (const Check& check : kQuick) {
      if (version < check.since) continue;
      Rows rows = connection.query(check.sql);
      while (rows.next()) wrong.push_back(rows.string(0));
    }
    examine_properties(connection, wrong);
    if (deep) {
      examine_blobs(connection, wrong);
      examine_logs(connection, wrong);
    }
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

void Store::backup(const base::Path& wanted) {
  base::Path to = fs::absolute(wanted).lexically_normal();
  if (!to.has_filename()) to = to.parent_path();
  std::error_code closed;
  if (fs::exists(to, closed))
    throw base::Error(base::Kind::exists, fmt::format("{}: is there already", to.string()));
  if (closed)
    throw base::Error(base::Kind::denied,
                      fmt::format("{}: the server's user: {}", to.string(), closed.message()));
  base::Path parent = to.parent_path();
  if (!fs::is_directory(parent))
    throw base::Error(base::Kind::invalid, fmt::format("{}: not a folder", parent.string()));
  if (auto inside = fs::relative(parent, folder_); !inside.empty() && *inside.begin() != "..")
    throw base::Error(base::Kind::invalid, fmt::format("{}: inside the data folder", to.string()));
  base::Path part = to.string() + ".part";
  make_backup(part, to);
}

void Store::make_backup(const base::Path& part, const base::Path& to) try {
  auto making = make_part(part);
  try {
    fill_backup(part, to);
  } catch (const std::exception&) {
    std::error_code none;
    bool full = fs::space(part, none).available < kRoom;
    fs::remove_all(part, none);
    if (full) throw base::Error(base::Kind::unavailable, fmt::format("{}: the disk is full", part.string()));
    throw;
  }
} catch (const fs::filesystem_error& error) {
  throw base::Error(base::Kind::unavailable, fmt::format("{}: {}", part.string(), error.code().message()));
}

void Store::fill_backup(const base::Path& part, const base::Path& to) {
  auto paused = blobs_.pause_sweeps();
  database_.copy_to(part / "textmill.db");
  copy_blobs(part / "textmill.db", blobs_.folder(), part);
  fs::rename(part, to);
  fs::remove(to / kMaking);
  base::sync_folder(to.parent_path());
}

// The database gets its name when all else is there: till then no server takes the folder, and another restore does.
void restore(const base::Path& backup, const base::Path& folder) {
  if (!fs::exists(backup / "textmill.db"))
    throw base::Error(base::Kind::invalid,
                      fmt::format("{}: not a backup: it holds no textmill.db", backup.string()));
  base::Path part = folder / kUnfinishedRestore;
  if (!fs::exists(part) && fs::exists(folder) && !fs::is_empty(folder))
    throw base::Error(base::Kind::exists, fmt::format("{}: not empty", folder.string()));
  fs::create_directories(folder);
  base::FileLock lock(folder / "lock");  // as a server's
  bool again = fs::exists(part);
  auto is_lock = [](const auto& entry) { return entry.path().filename() == "lock"; };
  if (!again && !std::all_of(fs::directory_iterator(folder), fs::directory_iterator(), is_lock))
    throw base::Error(base::Kind::exists, fmt::format("{}: not empty", folder.string()));
  if (auto wrong = examine(backup, true); !wrong.empty())
    throw base::Error(base::Kind::invalid, fmt::format("{} ({} findings in all)", wrong[0], wrong.size()));
  if (again) {
    fs::remove_all(folder / "objects");
    fs::remove(part);
  }
  fs::permissions(folder, fs::perms::owner_all);
  copy_durably(backup / "textmill.db", part);
  copy_blobs(backup / "textmill.db", backup / "objects", folder);
  for (const auto& entry : fs::recursive_directory_iterator(folder))  // each folder before what is in it
    base::give_to_owner(entry.path());
  fs::rename(part, folder / "textmill.db");
  base::sync_folder(folder);
}

}  // namespace textmill::store
