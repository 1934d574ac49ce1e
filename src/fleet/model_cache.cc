#include "fleet/model_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/hash.h"
#include "fleet/cache.h"
#include "fleet/inputs.h"
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

using Content = std::variant<std::string, Path>;

/// The bytes of an object, or the file that holds them.
Content content(store::Store& store, std::string_view url) {
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

/// The path of a blob is its sum: FOLDER/ab/cdef...
std::string sum_of(const Content& content) {
  const auto* file = std::get_if<Path>(&content);
  return file ? file->parent_path().filename().string() + file->filename().string()
              : base::sha256_hex(std::get<std::string>(content));
}

/// Copies: what the store holds keeps its owner.
void write_copy(const Content& content, const Path& to) {
  std::filesystem::create_directories(to.parent_path());
  if (const auto* file = std::get_if<Path>(&content))
    std::filesystem::copy_file(*file, to);
  else
    base::write_file_durably(to, std::get<std::string>(content));
}

void check_room(const std::vector<std::pair<std::string, Content>>& files, const Path& folder) {
  uint64_t bytes = 0;
  for (const auto& [path, content] : files) {
    const auto* file = std::get_if<Path>(&content);
    bytes += file ? std::filesystem::file_size(*file) : std::get<std::string>(content).size();
  }
  if (uint64_t room = room_in(folder); bytes > room)
    throw base::Error(base::Kind::limit,
                      fmt::format("the model has {} bytes, there is room for {}", bytes, room));
}

}  // namespace

ModelCache::ModelCache(store::Store& store, uint64_t most)
    : store_(store), folder_(store.folder() / "cache/models"), most_(most) {
  open_cache(folder_);
}

std::string ModelCache::unpack(std::string_view url) {
  std::lock_guard lock(mutex_);
  auto no_sweeps = store_.blobs().pause_sweeps();  // the files stay where they are
  if (url.ends_with('/')) return gather(url);
  auto found = content(store_, url);
  return keep(sum_of(found), [&](const Path& partial) {
    base::TemporaryFolder small;
    const auto* file = std::get_if<Path>(&found);
    Path archive = file ? *file : small.path() / "model.tar.gz";
    if (!file) base::write_file_durably(archive, std::get<std::string>(found));
    format::ArchiveLimits limits;
    limits.bytes = std::min(limits.bytes, room_in(partial));
    format::extract_archive(archive, partial, limits, url);
  });
}

std::string ModelCache::gather(std::string_view url) {
  std::vector<std::pair<std::string, Content>> files;
  store_.database().read([&](store::Connection& c) {
    for (const auto& [blob, path] : objects_under(c, parse_s3_uri(url)))
      files.emplace_back(path, store_.blobs().content(c, blob));
  });
  if (files.empty()) throw missing(url);
  base::Sha256 sum;
  for (const auto& [path, content] : files) sum.update(fmt::format("{} {}\n", sum_of(content), path));
  return keep(sum.hex_digest(), [&](const Path& partial) {
    check_room(files, partial);
    for (const auto& [path, content] : files) write_copy(content, partial / path);
  });
}

std::string ModelCache::keep(const std::string& name, const std::function<void(const Path&)>& fill) {
  if (!use_entry(path(name))) {
    Path partial = path(name + kPartial);
    std::filesystem::remove_all(partial);
    std::filesystem::create_directories(partial);
    try {
      fill(partial);
      give(partial, program_user());
    } catch (const std::exception&) {
      std::filesystem::remove_all(partial);
      throw;
    }
    std::filesystem::rename(partial, path(name));
    use_entry(path(name));
  }
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
