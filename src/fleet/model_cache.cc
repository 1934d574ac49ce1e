#include "fleet/model_cache.h"

#include <fmt/format.h>

#include <filesystem>

#include "base/error.h"
#include "base/hash.h"
#include "fleet/cache.h"
#include "fleet/user.h"
#include "format/archive.h"
#include "store/objects.h"

namespace textmill::fleet {

using base::Path;

namespace {

constexpr std::string_view kScheme = "s3://";

base::Error missing(std::string_view url) {
  return {base::Kind::not_found, fmt::format("Could not find model data at {}.", url)};
}

/// The bytes of an object, or the file that holds them.
std::variant<std::string, Path> content(store::Store& store, std::string_view url) {
  size_t slash = url.find('/', kScheme.size());
  if (!url.starts_with(kScheme) || slash == url.npos)
    throw base::Error(base::Kind::invalid, fmt::format("ModelDataUrl {}: expected s3://bucket/key", url));
  return store.database().read([&](store::Connection& c) {
    auto bucket = store::find_bucket(c, url.substr(kScheme.size(), slash - kScheme.size()));
    auto object = bucket ? store::find_object(c, bucket->id, url.substr(slash + 1)) : std::nullopt;
    if (!object) throw missing(url);
    return store.blobs().content(c, object->blob);
  });
}

}  // namespace

ModelCache::ModelCache(store::Store& store, uint64_t most)
    : store_(store), folder_(store.folder() / "cache/models"), most_(most) {
  Path of = store.folder() / "cache/models.boot";
  std::string now = base::read_file("/proc/sys/kernel/random/boot_id", 64);
  if (!std::filesystem::exists(of) || base::read_file(of, 64) != now) std::filesystem::remove_all(folder_);
  std::filesystem::create_directories(folder_);
  base::write_file_durably(of, now);
  for (const auto& entry : std::filesystem::directory_iterator(folder_))
    if (entry.path().extension() == kPartial) std::filesystem::remove_all(entry.path());
}

std::string ModelCache::unpack(std::string_view url) {
  std::lock_guard lock(mutex_);
  auto no_sweeps = store_.blobs().pause_sweeps();  // the file stays where it is
  auto found = content(store_, url);
  const auto* file = std::get_if<Path>(&found);
  // The path of a blob is its sum: FOLDER/ab/cdef...
  std::string name = file ? file->parent_path().filename().string() + file->filename().string()
                          : base::sha256_hex(std::get<std::string>(found));
  if (!std::filesystem::exists(path(name))) {
    Path partial = path(name + kPartial);
    std::filesystem::remove_all(partial);
    std::filesystem::create_directories(partial);
    try {
      base::TemporaryFolder small;
      Path archive = file ? *file : small.path() / "model.tar.gz";
      if (!file) base::write_file_durably(archive, std::get<std::string>(found));
      format::extract_archive(archive, partial);
      give(partial, program_user());
    } catch (const base::Error& error) {
      std::filesystem::remove_all(partial);
      throw base::Error(error.kind(), fmt::format("{}: {}", url, error.what()));
    }
    std::filesystem::rename(partial, path(name));
  }
  std::filesystem::last_write_time(path(name), std::filesystem::file_time_type::clock::now());
  return name;
}

std::set<std::string> ModelCache::in_use() const {
  std::set<std::string> out;
  std::error_code none;
  for (const auto& attempt : std::filesystem::directory_iterator(store_.folder() / "attempts", none)) {
    for (const char* input : {"input/model", "input/code"}) {
      std::error_code gone;
      auto link = std::filesystem::read_symlink(attempt.path() / attempt.path().filename() / input, gone);
      if (!gone) out.insert(link.filename());
    }
  }
  out.merge(fresh_entries(folder_));
  return out;
}

uint64_t ModelCache::trim(uint64_t most) {
  std::lock_guard lock(mutex_);
  return trim_cache(folder_, most, in_use());
}

}  // namespace textmill::fleet
