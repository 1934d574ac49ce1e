#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "base/files.h"
#include "store/blobs.h"
#include "store/database.h"

namespace textmill::store {

/// What a restore that has not ended leaves in its folder.
constexpr std::string_view kUnfinishedRestore = "textmill.db.part";

/// A data folder, opened by one process at a time:
///
///   textmill.db   the tables (with -wal and -shm while open; .before-N: a copy made before a migration;
///                 -reserve: space for deletions on a full disk; .part: until a restore has ended)
///   objects/      blobs beyond 64 KiB
///   staging/      bodies on their way in, on the same file system; they have no names
///   lock
///
/// A thread of its own does the upkeep: sweeps, merges, roll-ups, retention.
class Store {
 public:
  /// Makes the folder (mode 0700) if it is not there. Throws in_use when another process has it open, conflict when it
  /// was written by a newer version.
  Store(const base::Path& folder, Sync sync);
  Store(const Store&) = delete;
  ~Store();

  Database& database() { return database_; }
  Blobs& blobs() { return blobs_; }
  const base::Path& folder() const { return folder_; }
  base::Path staging() const { return folder_ / "staging"; }

  /// 32 random bytes under that name, made at the first call.
  std::string secret(std::string_view name);

  /// A copy in a new folder, of one moment, while all goes on: all that was acknowledged, but not what runs (attempts,
  /// unpacked models, environments). It appears whole or not at all.
  void backup(const base::Path& wanted);

 private:
  void make_backup(const base::Path& part, const base::Path& to);
  void fill_backup(const base::Path& part, const base::Path& to);
  void keep_up(std::stop_token stop);
  void round(std::stop_token stop, bool sweep);

  const base::Path folder_;
  base::FileLock lock_;
  Database database_;
  Blobs blobs_;
  std::jthread upkeep_;
};

/// Unpacks a backup into a folder that is empty, not there or has an unfinished restore, and examines it. Throws invalid
/// naming what is wrong with the backup.
void restore(const base::Path& backup, const base::Path& folder);

/// What is wrong in a data folder, a line each. `deep` reads every byte.
std::vector<std::string> examine(const base::Path& folder, bool deep);

/// The bytes of the operating system's random source.
std::string random_bytes(size_t count);

}  // namespace textmill::store
