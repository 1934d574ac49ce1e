#pragma once

#include <map>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/turns.h"
#include "fleet/cache.h"
#include "fleet/task.h"
#include "store/store.h"

namespace textmill::fleet {

/// What requirements.txt files name, installed once for each environment of Python and each text: FOLDER/HASH. The
/// packages' own code runs behind the walls of an attempt, as a job's does.
class Requirements {
 public:
  explicit Requirements(store::Store& store);
  /// Before anything is asked for. `server_key`: what no package's set-up is to see.
  void start(const base::Path& server_key) { server_key_ = server_key; }

  /// With `task`'s variables PIP_..., such as PIP_INDEX_URL, those that the text names (${TOKEN}), and proxies. The folder to
  /// be a program's TEXTMILL_REQUIREMENTS; empty: the text names nothing, or files of its own source, which only its job
  /// can install.
  /// Throws invalid with pip's last words; cancelled.
  base::Path install(const base::Path& environment, const std::string& text, const Task& task,
                     const std::stop_token& stop);

  /// As a cache that is held below a bound.
  std::vector<CacheEntry> entries() const { return cache_entries(folder_); }
  uint64_t trim(uint64_t most);
  /// What an attempt that is there has before it, or is about to.
  std::set<std::string> in_use() const;

 private:
  using Settings = std::map<std::string, std::string>;
  void run(const base::Path& environment, const std::string& text, const Settings& settings,
           const base::Path& to, const std::stop_token& stop);

  store::Store& store_;
  const base::Path folder_;
  base::Path server_key_;
  std::mutex mutex_;
  base::Turns turns_;  // folders that are being installed into
};

/// requirements.txt of a packed source folder, "s3://bucket/sourcedir.tar.gz"; empty: none in it, or no such object.
std::string requirements_of(store::Store& store, std::string_view source_url);

}  // namespace textmill::fleet
