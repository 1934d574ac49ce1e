#include "store/database.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

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

base::Path wal_of(const base::Path& file) { return file.string() + "-wal"; }

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
  writer_ = std::make_unique<Connection>(options.file, Connection::Mode::create);
  writer_->script("PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA cache_size = -8000;");
  configure(*writer_, options.sync);
  migrate(migrations);
  // The first write of a connection makes the log file, which stays until the last connection closes.
  writer_->script("BEGIN IMMEDIATE; COMMIT");
  wal_ = ::open(wal_of(options.file).c_str(), O_RDONLY | O_CLOEXEC);
  if (wal_ < 0) throw base::system_error(wal_of(options.file), errno);
  for (int i = 0; i < options.readers; ++i) {
    readers_.push_back(std::make_unique<Connection>(options.file, Connection::Mode::read));
    readers_.back()->script("PRAGMA query_only = ON; PRAGMA temp_store = MEMORY;");
  }
  checkpointer_ = base::start_thread("checkpoint", [this](std::stop_token stop) { checkpoint(stop); });
}

Database::~Database() {
  checkpointer_ = {};
  readers_.clear();
  writer_.reset();
  if (wal_ >= 0) ::close(wal_);
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
  try {
    commit(body);
  } catch (const base::Error& error) {
    if (purpose == Purpose::grows || error.kind() != base::Kind::unavailable || !reserve_.release()) throw;
    commit(body);
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

// After a commit, under the mutex. The checkpointer copies the log into the file beside the writers; but SQLite begins
// its log anew only when a writer finds all of it copied and unread, which under steady load needs a short stop.
void Database::tend_log() {
  int pages = writer_->wal_pages();
  reserve_.cover(int64_t{pages} * kPage);
  if (pages >= restart_at_) {
    Rows rows = writer_->query("PRAGMA wal_checkpoint(RESTART)");
    bool restarted =
        rows.next() && rows.integer(0) == 0;  // else somebody still reads: a backup takes its time
    restart_at_ = (restarted ? 0 : pages) + kRestartPages;
  } else if (pages >= kCheckpointPages) {
    std::lock_guard lock(checkpoint_mutex_);
    log_is_long_ = true;
    checkpoint_due_.notify_one();
  }
}

void Database::checkpoint(std::stop_token stop) {
  Connection connection(options_.file, Connection::Mode::read);
  configure(connection, options_.sync);
  std::unique_lock lock(checkpoint_mutex_);
  while (checkpoint_due_.wait(lock, stop, [&] { return log_is_long_; })) {
    lock.unlock();
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)");
    lock.lock();
    log_is_long_ = false;
  }
}

void Database::relieve() {
  Connection connection(options_.file, Connection::Mode::read);
  configure(connection, options_.sync);
  Rows rows = connection.query("PRAGMA wal_checkpoint(TRUNCATE)");
  if (rows.next() && rows.integer(0) == 0) reserve_.cover(0);
}

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
