#include "store/store.h"

#include <sys/random.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "base/threads.h"
#include "store/logs.h"
#include "store/schema.h"
#include "store/series.h"

namespace textmill::store {

namespace {

using namespace std::chrono_literals;

constexpr auto kRound = 2s, kHandover = 1s;
constexpr int kSweepEvery = 5;  // rounds
constexpr int64_t kFreePages = 1024;
constexpr int kFewPages = 256;  // at a time on a full disk, where each takes a page of the log first

base::Path made(const base::Path& folder) {
  if (std::filesystem::exists(folder / kUnfinishedRestore))
    throw base::Error(base::Kind::conflict,
                      folder.string() + ": a restore into it has not ended: run it again");
  if (std::filesystem::create_directories(folder)) ::chmod(folder.c_str(), 0700);
  std::filesystem::create_directories(folder / "staging");
  return folder;
}

/// A process that was killed while it started another leaves that one with the lock, for the moment until it is itself.
base::FileLock locked(const base::Path& file) {
  for (auto end = base::steady_now() + kHandover;; std::this_thread::sleep_for(10ms)) try {
      return base::FileLock(file);
    } catch (const base::Error& error) {
      if (error.kind() != base::Kind::in_use || base::steady_now() > end) throw;
    }
}

}  // namespace

Store::Store(const base::Path& folder, Sync sync)
    : folder_(made(folder)),
      lock_(locked(folder_ / "lock")),
      database_({.file = folder_ / "textmill.db", .sync = sync}, schema()),
      blobs_(folder_ / "objects", sync) {
  upkeep_ = base::start_thread("upkeep", [this](std::stop_token stop) { keep_up(stop); });
}

Store::~Store() = default;

void Store::keep_up(std::stop_token stop) {
  std::mutex mutex;
  std::condition_variable_any never;
  for (int i = 0; !stop.stop_requested(); ++i) {
    try {
      if (i == 0) {
        // What a killed process left. Nobody of this one can hold a blob that has no use since before its start.
        size_t files = blobs_.sweep_files(database_);
        blobs_.sweep(database_);
        if (files > 0) base::log(base::Level::info, "orphans_swept", {{"files", files}});
      }
      round(stop, i % kSweepEvery == 0);
    } catch (const std::exception& error) {
      base::log(base::Level::error, "upkeep_failed", {{"error", error.what()}});
    }
    std::unique_lock lock(mutex);
    never.wait_for(lock, stop, kRound, [] { return false; });
  }
}

void Store::round(std::stop_token stop, bool sweep) {
  bool short_of_space = !database_.has_room();
  if (short_of_space) database_.relieve();  // what follows writes into the log
  if (sweep || short_of_space) {
    blobs_.sweep(database_);
    auto free = database_.read([](Connection& c) { return c.integer("PRAGMA freelist_count").value_or(0); });
    if (free > (short_of_space ? 0 : kFreePages)) database_.shrink(short_of_space ? kFewPages : kFreePages);
  }
  if (short_of_space) return database_.relieve();
  auto now = base::wall_now();
  // Each gets its turn, and what is left waits, so that the next round may sweep.
  auto end = base::steady_now() + kRound;
  for (bool more = true; more && !stop.stop_requested() && base::steady_now() < end;) {
    bool logs = tend_logs(database_, now);
    more = tend_series(database_, now) || logs;
  }
}

std::string Store::secret(std::string_view name) {
  return database_.write(
      [&](Connection& c) {
        {
          Rows rows = c.query("SELECT value FROM settings WHERE name = ?", name);
          if (rows.next()) return rows.string(0);
        }
        std::string secret = random_bytes(32);
        c.execute("INSERT INTO settings (name, value) VALUES (?, ?)", name, Bytes{secret});
        return secret;
      },
      Purpose::frees);  // for it is only read, but for once: a server starts on a full disk too
}

std::string random_bytes(size_t count) {
  std::string bytes(count, '\0');
  for (size_t got = 0; got < count;) {
    ssize_t some = ::getrandom(bytes.data() + got, count - got, 0);
    if (some < 0 && errno != EINTR) throw base::system_error("getrandom", errno);
    if (some > 0) got += static_cast<size_t>(some);
  }
  return bytes;
}

}  // namespace textmill::store
