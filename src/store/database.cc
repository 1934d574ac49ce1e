#include "store/database.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <system_error>

#include "base/error.h"
#include "base/log.h"
#include "base/threads.h"

namespace textmill::store {

namespace {

constexpr int kApplicationId = 0x54584d4c;  // "TXML", in the file's header
constexpr int kMaxGroup = 256, kPage = 4096;
constexpr int kMostWaitingScans = 16;
constexpr uintmax_t kLeastRoom = 1 << 20;  // where a write may just not fit
constexpr const char *kFull = "the disk is full: only deletions are taken until there is space",
                     *kUnsynced = "the disk failed to sync: nothing is written any more";
constexpr int kCheckpointPages = 4096, kRestartPages = 16384;  // of 4 KiB, in the write-ahead log
constexpr std::chrono::seconds kCheckpointPause(2);            // after one that failed

base::Path wal_of(const base::Path& file) { return file.string() + "-wal"; }

bool is_nearly_full(const base::Path& folder) {
  std::error_code unknown;
  auto space = std::filesystem::space(folder, unknown);
  return !unknown && space.available < kLeastRoom;
}

/// SQLite may call it an I/O error, as when the file that its connections share cannot grow.
bool tells_full_disk(const base::Error& error, const base::Path& folder) {
  if (error.kind() != base::Kind::unavailable) return false;
  return std::string_view(error.what()).ends_with("disk is full") || is_nearly_full(folder);
}

void configure(Connection& connection, Sync sync) {
  // With NORMAL a commit is not synced: make_durable does that, once for all commits that wait.
  connection.script(
      fmt::format("PRAGMA synchronous = {}; PRAGMA foreign_keys = ON; PRAGMA "
                  "temp_store = MEMORY;",
                  sync == Sync::full ? "NORMAL" : "OFF"));
}

}  // namespace

Database::Database(const Options& options, Migrations migrations)
    : options_(options), reserve_(options.file.string() + "-reserve"), restart_at_(kRestartPages) {
  const base::Path folder = std::filesystem::absolute(options.file).parent_path();
  for (bool again = false;; again = true) try {
      open(migrations);
      if (again) relieve();  // before anything else takes the space
      break;
    } catch (const base::Error& error) {
      close();
      if (!tells_full_disk(error, folder)) throw;
      if (again || !reserve_.release())
        throw base::Error(base::Kind::unavailable,
                          fmt::format("{}: the disk is full, and {} cannot be opened until there is space",
                                      folder.string(), options.file.filename().string()));
      base::log(base::Level::warning, "reserve_given_up", {{"error", error.what()}});
    }
  if (is_nearly_full(folder)) reserve_.release();  // whoever starts has files to write
  checkpointer_ = base::start_thread("checkpoint", [this](std::stop_token stop) { checkpoint(stop); });
}

Database::~Database() {
  checkpointer_ = {};
  close();
}

void Database::open(Migrations migrations) {
  writer_ = std::make_unique<Connection>(options_.file, Connection::Mode::create);
  writer_->script("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA cache_size = -8000;");
  configure(*writer_, options_.sync);
  migrate(migrations);
  // The first write of a connection makes the log file, which stays until the last connection closes.
  writer_->script("BEGIN IMMEDIATE; COMMIT");
  wal_ = ::open(wal_of(options_.file).c_str(), O_RDONLY | O_CLOEXEC);
  if (wal_ < 0) throw base::system_error(wal_of(options_.file), errno);
  for (int i = 0; i < options_.readers; ++i) {
    readers_.push_back(std::make_unique<Connection>(options_.file, Connection::Mode::read));
    readers_.back()->script("PRAGMA query_only = ON; PRAGMA temp_store = MEMORY;");
  }
}

void Database::close() {
  readers_.clear();
  writer_.reset();
  if (wal_ >= 0) ::close(std::exchange(wal_, -1));
}

void Database::migrate(Migrations migrations) {
  int64_t version = writer_->integer("PRAGMA user_version").value_or(0);
  int64_t newest = static_cast<int64_t>(migrations.size());
  int64_t application = writer_->integer("PRAGMA application_id").value_or(0);
  if (application != kApplicationId && (application || version))
    throw base::Error(base::Kind::invalid, fmt::format("{}: not a file of textmill", options_.file.string()));
  if (version > newest)
    throw base::Error(base::Kind::conflict,
                      fmt::format("{}: written by a newer textmill (format {}, this one knows up to {})",
                                  options_.file.string(), version, newest));
  if (version == newest) return;
  if (version > 0) copy_to(fmt::format("{}.before-{}", options_.file.string(), version + 1));
  writer_->script("BEGIN IMMEDIATE");
  for (int64_t i = version; i < newest; ++i) writer_->script(migrations[static_cast<size_t>(i)]);
  writer_->script(
      fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {}; COMMIT", kApplicationId, newest));
}

void Database::commit(const std::function<void(Connection&)>& body, Purpose purpose) {
  if (sync_failed_) throw base::Error(base::Kind::unavailable, kUnsynced);
  if (purpose == Purpose::grows && !reserve_.hold()) throw base::Error(base::Kind::unavailable, kFull);
  for (int tried = 0;; ++tried) try {
      return commit(body);
    } catch (const base::Error& error) {
      bool full = error.kind() == base::Kind::unavailable && !sync_failed_;
      if (purpose == Purpose::grows || !full) throw;
      // The reserve is for a deletion, and at once for the log: what later deletions write there must not fill the disk
      // before the tables have grown by what it holds.
      reserve_.release();
      copy_log("TRUNCATE");  // and gives back what it has for what was rolled back
      if (tried == 2) throw;
    }
}

void Database::commit(const std::function<void(Connection&)>& body) {
  ++arriving_;
  std::unique_lock lock(mutex_);
  --arriving_;
  if (!group_) {
    writer_->execute("BEGIN IMMEDIATE");
    group_ = std::make_shared<Group>();
  }
  auto group = group_;
  std::exception_ptr failure = attempt(body);
  // Who arrives meanwhile takes the mutex next, joins, and finds itself last sooner or later.
  if (!group->done && (arriving_ == 0 || ++group->facts >= kMaxGroup)) close_group(lock);
  group->changed.wait(lock, [&] { return group->done; });
  if (failure) std::rethrow_exception(failure);
  if (group->failure) std::rethrow_exception(group->failure);
}

// Runs one fact under a savepoint. Its exception travels to its own caller, past the others of the group.
std::exception_ptr Database::attempt(const std::function<void(Connection&)>& body) {
  try {
    writer_->execute("SAVEPOINT fact");
    body(*writer_);
    writer_->execute("RELEASE fact");
    return nullptr;
  } catch (...) {
    auto failure = std::current_exception();
    if (writer_->in_transaction()) {
      writer_->script("ROLLBACK TO fact; RELEASE fact");
    } else {  // a full disk: SQLite has rolled back the whole group
      group_->failure = failure;
      group_->done = true;
      group_->changed.notify_all();
      group_ = nullptr;
    }
    return failure;
  }
}

void Database::close_group(std::unique_lock<std::mutex>& lock) {
  auto group = std::exchange(group_, nullptr);
  try {
    writer_->execute("COMMIT");
    uint64_t commit = ++commits_;
    tend_log();
    if (options_.sync == Sync::full) {
      lock.unlock();  // the next group is written while this one is synced
      sync_log(commit);
      lock.lock();
    }
  } catch (...) {
    if (!lock) lock.lock();
    group->failure = std::current_exception();
    if (!group_ && writer_->in_transaction()) writer_->script("ROLLBACK");
  }
  group->done = true;
  group->changed.notify_all();
}

// One thread syncs for all whose commits are in the log by then.
void Database::sync_log(uint64_t commit) {
  std::unique_lock lock(sync_mutex_);
  while (synced_ < commit && !sync_failed_) {
    if (syncing_) {
      synced_changed_.wait(lock);
      continue;
    }
    syncing_ = true;
    uint64_t upto = commits_;
    lock.unlock();
    bool synced = ::fdatasync(wal_) == 0;
    lock.lock();
    syncing_ = false;
    if (synced)
      synced_ = upto;
    else
      sync_failed_ = true;
    synced_changed_.notify_all();
  }
  // The kernel may have dropped the pages that it could not write: nothing later makes them durable.
  if (sync_failed_) throw base::Error(base::Kind::unavailable, kUnsynced);
}

std::string Database::trouble() {
  if (sync_failed_) return kUnsynced;
  bool room = reserve_.hold() && std::filesystem::space(options_.file).available >= kLeastRoom;
  return room ? "" : kFull;
}

// After a commit, under the mutex; it does not fail, for the facts are committed. The checkpointer copies the log into
// the file beside the writers; but SQLite begins its log anew only when a writer finds all of it copied and unread,
// which under steady load needs a short stop.
void Database::tend_log() {
  int pages = writer_->wal_pages();
  reserve_.cover(int64_t{pages} * kPage);
  if (pages >= restart_at_) {
    bool restarted = copy_log("RESTART");  // else somebody still reads: a backup takes its time
    restart_at_ = (restarted ? 0 : pages) + kRestartPages;
  } else if (pages >= kCheckpointPages) {
    std::lock_guard lock(checkpoint_mutex_);
    log_is_long_ = true;
    checkpoint_due_.notify_one();
  }
}

void Database::checkpoint(std::stop_token stop) {
  std::unique_lock lock(checkpoint_mutex_);
  while (checkpoint_due_.wait(lock, stop, [&] { return log_is_long_; }) && !stop.stop_requested()) {
    lock.unlock();
    bool copied = copy_log("PASSIVE");
    lock.lock();
    log_is_long_ = !copied;
    if (!copied) checkpoint_due_.wait_for(lock, stop, kCheckpointPause, [] { return false; });
  }
}

// What most of the reserve is for: the file grows by up to what the log holds. Who holds the mutex of the writer may
// wait for a loan, so nobody who has one may wait for that mutex. False if it failed, which is logged once, or if
// somebody still reads the log.
bool Database::copy_log(std::string_view mode) {
  std::lock_guard one_at_a_time(copying_);  // SQLite refuses a second
  for (std::unique_lock<std::mutex> loan;; loan = reserve_.lend()) try {
      Connection connection(options_.file, Connection::Mode::read);
      configure(connection, options_.sync);
      if (mode == "RESTART")
        connection.query("PRAGMA busy_timeout = 0").next();  // else it waits for who reads
      Rows rows = connection.query(fmt::format("PRAGMA wal_checkpoint({})", mode));
      bool done = rows.next() && rows.integer(0) == 0;
      if (!done) return false;
      reserve_.cover((rows.integer(1) - rows.integer(2)) * kPage);  // pages in the log, and those copied
      copying_fails_ = false;
      return true;
    } catch (const base::Error& error) {
      if (!loan && error.kind() == base::Kind::unavailable) continue;
      if (!copying_fails_.exchange(true))
        base::log(base::Level::error, "log_not_copied", {{"error", error.what()}});
      return false;
    }
}

void Database::relieve() { copy_log("TRUNCATE"); }

Database::Reader::Reader(const Database& from) : database(from) {
  {
    std::unique_lock lock(database.readers_mutex_);
    database.reader_returned_.wait(lock, [&] { return !database.readers_.empty(); });
    connection = std::move(database.readers_.back());
    database.readers_.pop_back();
  }
  try {
    connection->execute("BEGIN");
  } catch (...) {
    give_back();
    throw;
  }
}

Database::Reader::~Reader() {
  try {
    connection->execute("COMMIT");
  } catch (const base::Error& error) {  // what was read was read
    base::log(base::Level::error, "read_not_ended", {{"error", error.what()}});
  }
  give_back();
}

void Database::Reader::give_back() {
  std::lock_guard lock(database.readers_mutex_);
  database.readers_.push_back(std::move(connection));
  database.reader_returned_.notify_one();
}

Database::Scan::Scan(const Database& of) : database(of) {
  std::unique_lock lock(database.readers_mutex_);
  if (database.scans_waiting_ >= kMostWaitingScans)
    throw base::Error(base::Kind::unavailable, "too many searches wait already; try again");
  ++database.scans_waiting_;
  database.scan_ended_.wait(lock,
                            [&] { return database.scans_ < std::max(1, database.options_.readers / 2); });
  --database.scans_waiting_;
  ++database.scans_;
}

Database::Scan::~Scan() {
  std::lock_guard lock(database.readers_mutex_);
  --database.scans_;
  database.scan_ended_.notify_one();
}

void Database::copy_to(const base::Path& file) const {
  base::Path temporary = file.string() + ".part";
  std::filesystem::remove(temporary);
  Connection(options_.file, Connection::Mode::read).execute("VACUUM INTO ?", temporary.string());
  int fd = ::open(temporary.c_str(), O_RDONLY | O_CLOEXEC);
  bool synced = fd >= 0 && ::fsync(fd) == 0;
  int code = errno;
  if (fd >= 0) ::close(fd);
  if (!synced) throw base::system_error(temporary.string(), code);
  std::filesystem::rename(temporary, file);
  base::sync_folder(file.parent_path());
}

void Database::shrink(int pages) {
  write(
      [&](Connection& connection) { connection.script(fmt::format("PRAGMA incremental_vacuum({})", pages)); },
      Purpose::frees);
}

}  // namespace textmill::store
