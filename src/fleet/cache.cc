#include "fleet/cache.h"

#include <algorithm>
#include <filesystem>

namespace textmill::fleet {

using base::Path;

namespace {

constexpr auto kFresh = std::chrono::minutes(1);

}  // namespace

void open_cache(const Path& folder) {
  Path of = folder.string() + ".boot";
  std::string now = base::read_file("/proc/sys/kernel/random/boot_id", 64);
  const bool same = std::filesystem::exists(of) && base::read_file(of, 64) == now;
  if (!same) std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  if (!same) base::write_file_durably(of, now);  // else a start on a full disk writes nothing here
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().extension() == kPartial) std::filesystem::remove_all(entry.path());
}

uint64_t room_in(const Path& folder) {
  uint64_t free = std::filesystem::space(folder).available;
  return free - std::min(free, kLeastFree);
}

bool use_entry(const Path& entry) {
  bool there = std::filesystem::exists(entry);
  if (there) std::filesystem::last_write_time(entry, std::filesystem::file_time_type::clock::now());
  return there;
}

uint64_t bytes_in(const Path& folder) {
  uint64_t bytes = 0;
  std::error_code gone;  // files come and go where something runs
  std::filesystem::recursive_directory_iterator at(folder, gone), end;
  for (; !gone && at != end; at.increment(gone)) {
    std::error_code none;
    uint64_t size = at->is_regular_file(none) && !at->is_symlink(none) ? at->file_size(none) : 0;
    if (!none) bytes += size;
  }
  return bytes;
}

std::vector<CacheEntry> cache_entries(const Path& folder) {
  std::vector<CacheEntry> out;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(folder, none))
    if (entry.path().extension() != kPartial)
      out.push_back({entry.path().filename(), bytes_in(entry.path()), entry.last_write_time(none)});
  std::ranges::sort(out, std::greater{}, &CacheEntry::used);
  return out;
}

std::set<std::string> fresh_entries(const Path& folder) {
  std::set<std::string> out;
  for (const auto& entry : cache_entries(folder))
    if (entry.used > std::filesystem::file_time_type::clock::now() - kFresh) out.insert(entry.name);
  return out;
}

uint64_t trim_cache(const Path& folder, uint64_t most, const std::set<std::string>& in_use) {
  uint64_t kept = 0, freed = 0;
  for (const CacheEntry& entry : cache_entries(folder)) {
    if (in_use.contains(entry.name) || kept + entry.bytes <= most) {
      kept += entry.bytes;
      continue;
    }
    Path partial = folder / (entry.name + kPartial);
    std::filesystem::rename(folder / entry.name, partial);
    std::filesystem::remove_all(partial);
    freed += entry.bytes;
  }
  return freed;
}

}  // namespace textmill::fleet
