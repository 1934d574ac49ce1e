#pragma once

#include <chrono>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/files.h"

namespace textmill::fleet {

/// A cache is a folder of folders whose content can be made again; what was used last (its time) stays longest.
struct CacheEntry {
  std::string name;
  uint64_t bytes = 0;
  std::filesystem::file_time_type used;
};

/// What an entry is called until it is whole, and while it is removed.
inline constexpr const char* kPartial = ".partial";

/// Makes it, without what is not whole. What was unpacked before the machine started anew may not be: nothing waited for
/// the disk.
void open_cache(const base::Path& folder);

/// Of the disk, before all others suffer.
inline constexpr uint64_t kLeastFree = 256 << 20;
/// How often who waits for room looks: no event tells of it.
inline constexpr auto kLookForRoom = std::chrono::milliseconds(500);
/// Bytes that may be unpacked there before that.
uint64_t room_in(const base::Path& folder);
uint64_t bytes_in(const base::Path& folder);
/// Whether it is there; then it is now the one that was used last.
bool use_entry(const base::Path& entry);
/// The one that was used last comes first.
std::vector<CacheEntry> cache_entries(const base::Path& folder);
/// The names of those that are so new that somebody is about to use them.
std::set<std::string> fresh_entries(const base::Path& folder);
/// Removes what was not used for longest, and is in none of `in_use`, until the rest is at most `most` bytes. Returns how
/// many bytes that freed.
uint64_t trim_cache(const base::Path& folder, uint64_t most, const std::set<std::string>& in_use);

}  // namespace textmill::fleet
