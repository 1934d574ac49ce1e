#include "fleet/containers.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "base/error.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/time.h"
#include "fleet/attempt.h"
#include "fleet/images.h"
#include "fleet/user.h"
#include "format/archive.h"

namespace textmill::fleet {

using base::Path;

namespace {

constexpr size_t kShownId = 12;  // digits, as engines show them

format::ArchiveLimits limits_in(const Path& folder) {
  format::ArchiveLimits limits{.entries = 10'000'000};
  limits.bytes = std::min(limits.bytes, room_in(folder));
  return limits;
}

}  // namespace

Containers::Containers(store::Store& store, uint64_t most)
    : store_(store), folder_(store.folder() / "cache/images"), most_(most) {
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, none))
    if (entry.path().extension() == kPartial) left_over_.insert(entry.path().stem());
  open_cache(folder_);
}

void Containers::start(const Path& engine) {
  if (!engine.empty()) engine_.emplace(engine);
}

ContainerImage Containers::use(const std::string& name, Task& task, const AttemptFolder& folder,
                               const std::stop_token& stop) {
  if (!engine_)
    throw base::Error(
        base::Kind::invalid,
        fmt::format("the image {} is none that this server runs: `textmill images` lists those that "
                    "it does{}",
                    name, kNoContainers));
  ContainerImage image = engine_->inspect(name, stop);
  const Path root = unpacked(name, image, stop);
  std::filesystem::create_directory_symlink(root, folder.image());  // from here on it is in use
  task.container = image.folder;
  task.environment.insert(image.environment.begin(), image.environment.end());
  task.notes.push_back(fmt::format("A container of the image {} ({}).", name, image.id.substr(0, kShownId)));
  if (!image.user.empty() && image.user != "root" && image.user != "0")
    task.notes.push_back(
        fmt::format("The image asks for the user {}: here its program is root of its own namespace, and owns "
                    "nothing outside.",
                    image.user));
  return image;
}

Path Containers::unpacked(const std::string& name, const ContainerImage& image, const std::stop_token& stop) {
  auto turn = turns_.take(image.id, stop);
  if (!turn) throw base::Error(base::Kind::cancelled, "the image " + name);
  Path root = folder_ / image.id;
  auto is_there = [&] {
    std::lock_guard lock(mutex_);
    return use_entry(root);
  };
  if (is_there()) return root;
  remove_left_over(image.id, stop);
  unpack(name, image, stop);
  is_there();
  trim(most_);
  return root;
}

/// What an engine failed to remove, or a killed server had no time to; not what another thread is at: it has that name.
void Containers::remove_left_over(const std::string& own, const std::stop_token& stop) {
  auto all = [&] {
    std::lock_guard lock(mutex_);
    return left_over_;
  };
  for (const auto& id : all()) {
    auto turn = id == own ? std::nullopt : turns_.try_take(id);
    if ((id != own && !turn) || !engine_->remove_container(container_of(id), stop)) continue;
    std::lock_guard lock(mutex_);
    left_over_.erase(id);
  }
}

void Containers::unpack(const std::string& name, const ContainerImage& image, const std::stop_token& stop) {
  const auto begin = base::steady_now();
  const Path partial = folder_ / (image.id + kPartial), root = partial / "root",
             archive = partial / "files.tar";
  std::filesystem::remove_all(partial);
  std::filesystem::create_directories(root);
  auto end = [&](const Path* of) {
    std::error_code none;
    std::filesystem::remove_all(*of, none);
  };
  std::unique_ptr<const Path, decltype(end)> ends(&partial, end);
  {
    auto remove = [&](const std::string* id) {
      if (engine_->remove_container(container_of(*id), stop)) return;
      std::lock_guard lock(mutex_);
      left_over_.insert(*id);
    };
    std::unique_ptr<const std::string, decltype(remove)> removed(&image.id, remove);
    engine_->write_files(image, container_of(image.id), archive, stop);
  }
  std::filesystem::permissions(root, std::filesystem::perms(0755));
  format::extract_root(archive, root, limits_in(folder_), "the image " + name);
  give(root, program_user());
  std::filesystem::rename(root, folder_ / image.id);
  base::log(base::Level::info, "image_unpacked",
            {{"image", name}, {"id", image.id}, {"seconds", base::seconds_since(begin)}});
}

/// By image and by data folder: several servers may have one engine.
std::string Containers::container_of(const std::string& id) const {
  return fmt::format("textmill-{}-{}", base::sha256_hex(store_.folder().string()).substr(0, kShownId),
                     id.substr(0, kShownId));
}

std::set<std::string> Containers::in_use() const {
  auto out = fresh_entries(folder_);
  for (const AttemptFolder& attempt : attempts_in(store_.folder())) {
    std::error_code gone;
    auto link = std::filesystem::read_symlink(attempt.image(), gone);
    if (!gone) out.insert(link.filename());
  }
  return out;
}

uint64_t Containers::trim(uint64_t most) {
  std::lock_guard lock(mutex_);
  return trim_cache(folder_, most, in_use());
}

}  // namespace textmill::fleet
