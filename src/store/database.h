#pragma once

#include <atomic>
#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <vector>

#include "store/connection.h"
#include "store/reserve.h"

namespace textmill::store {

/// What an acknowledged write survives: `process` the end of this process at any moment, `full` also the loss of power.
enum class Sync { full, process };

/// What a fact does to the disk. On a full one those that free go on, from a reserve, and others are refused until it is
/// there again.
enum class Purpose { grows, frees };

/// The steps of the format: migrations[n] brings a file of version n to n + 1. Never edited once released.
using Migrations = std::span<const std::string_view>;

/// One SQLite file (WAL): one writer, some readers.
///
/// Facts are written in groups: those that arrive while another is being written share its transaction, each under its
/// own savepoint, and one sync. A fact is all or nothing on its own; write() returns when it is as durable as promised.
class Database {
 public:
  struct Options {
    base::Path file;
    Sync sync = Sync::full;
    int readers = 8;
  };

  /// Opens or creates the file, and brings it to the newest version in one transaction, after a copy to
  /// FILE.before-N. Throws conflict if the file is of a newer version than `migrations` knows. On a full disk it gives
  /// up the reserve, so that a server starts there, to read and to delete.
  Database(const Options& options, Migrations migrations);
  Database(const Database&) = delete;
  ~Database();

  /// Runs `body(Connection&)` as one fact and returns what it returns. If it throws, nothing of it stays. `body` must be
  /// short and must not wait for other facts.
  template <class F>
  auto write(F&& body, Purpose purpose = Purpose::grows) {
    using Result = std::invoke_result_t<F&, Connection&>;
    if constexpr (std::is_void_v<Result>) {
      commit([&](Connection& connection) { body(connection); }, purpose);
    } else {
      std::optional<Result> result;
      commit([&](Connection& connection) { result.emplace(body(connection)); }, purpose);
      return std::move(*result);
    }
  }

  /// Runs `body(Connection&)` over one snapshot, which holds at least all that was acknowledged before.
  template <class F>
  auto read(F&& body) const {
    Reader reader(*this);
    return body(*reader.connection);
  }

  /// A read that may take long. At most half of the readers do that at once, so that the short ones go on. Throws
  /// unavailable when too many wait for it already.
  template <class F>
  auto scan(F&& body) const {
    Scan turn(*this);
    return read(std::forward<F>(body));
  }

  /// A compact copy of one snapshot in a new file, synced. Writers go on meanwhile.
  void copy_to(const base::Path& file) const;

  /// Gives the space of deleted rows back to the file system: at most `pages` of 4 KiB.
  void shrink(int pages);

  /// Whether facts that grow are taken. If not, relieve() gives the file system what the log can spare.
  bool has_room() { return reserve_.hold(); }
  void relieve();
  /// Why facts are refused now; empty when all is well.
  std::string trouble();

  const base::Path& file() const { return options_.file; }

 private:
  /// Facts that share a transaction.
  struct Group {
    int facts = 0;
    bool done = false;
    std::exception_ptr failure;  // of the transaction: no fact of the group is acknowledged
    std::condition_variable changed;
  };
  /// A connection out of the pool, in a read transaction.
  struct Reader {
    explicit Reader(const Database& database);
    ~Reader();
    void give_back();
    const Database& database;
    std::unique_ptr<Connection> connection;
  };

  /// One of the long reads.
  struct Scan {
    explicit Scan(const Database& database);
    ~Scan();
    const Database& database;
  };

  void open(Migrations migrations);
  void close();
  void migrate(Migrations migrations);
  void commit(const std::function<void(Connection&)>& body, Purpose purpose);
  void commit(const std::function<void(Connection&)>& body);
  std::exception_ptr attempt(const std::function<void(Connection&)>& body);
  void close_group(std::unique_lock<std::mutex>& lock);
  void sync_log(uint64_t commit);
  void tend_log();
  bool copy_log(std::string_view mode);
  void checkpoint(std::stop_token stop);

  const Options options_;
  Reserve reserve_;
  std::unique_ptr<Connection> writer_;

  std::mutex mutex_;  // held while the writer connection is used
  std::atomic<int> arriving_ =
      0;  // facts between write() and the mutex: one of them will close the open group
  std::shared_ptr<Group> group_;  // the open transaction, if any
  std::atomic<uint64_t> commits_ = 0;

  std::mutex sync_mutex_;
  std::condition_variable synced_changed_;
  uint64_t synced_ = 0;  // commits known to be on disk
  bool syncing_ = false;
  std::atomic<bool> sync_failed_ = false;
  int wal_ = -1;

  mutable std::mutex readers_mutex_;
  mutable std::condition_variable reader_returned_;
  mutable std::vector<std::unique_ptr<Connection>> readers_;
  mutable std::condition_variable scan_ended_;
  mutable int scans_ = 0, scans_waiting_ = 0;

  std::mutex checkpoint_mutex_;
  std::condition_variable_any checkpoint_due_;
  bool log_is_long_ = false;  // for the checkpointer to copy into the file
  std::mutex copying_;
  std::atomic<bool> copying_fails_ = false;
  int restart_at_;  // pages in the log at which a commit begins it anew
  std::jthread checkpointer_;
};

}  // namespace textmill::store
