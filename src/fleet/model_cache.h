#pragma once

#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include "fleet/cache.h"
#include "store/store.h"

namespace textmill::fleet {

/// Models' files, each model once, by the sum of its archive or of what lies under its prefix: FOLDER/SHA256. What was used last stays longest.
/// They do not outlive the machine's run: nothing waits for the disk.
class ModelCache {
 public:
  /// `most`: bytes, which what is in use may exceed.
  ModelCache(store::Store& store, uint64_t most);

  /// The name of the folder that holds what is packed in an object ("s3://bucket/key"), or what lies under a prefix
  /// ("s3://bucket/prefix/"). Throws not_found naming it; invalid, limit for an archive that is none, or what leaves its
  /// folder.
  std::string unpack(std::string_view url);
  base::Path path(std::string_view name) const { return folder_ / name; }

  std::vector<CacheEntry> entries() const { return cache_entries(folder_); }
  /// Removes what was not used for longest until the rest is at most `most` bytes. Returns how many bytes that freed.
  uint64_t trim(uint64_t most);
  uint64_t trim() { return trim(most_); }
  /// Models that an instance of an endpoint has before it, or is about to.
  std::set<std::string> in_use() const;

 private:
  std::string gather(std::string_view url);
  /// The name of the folder of that sum, filled if it is not there yet.
  std::string keep(const std::string& name, const std::function<void(const base::Path&)>& fill);

  store::Store& store_;
  const base::Path folder_;
  const uint64_t most_;
  std::mutex mutex_;  // one archive at a time
};

}  // namespace textmill::fleet
