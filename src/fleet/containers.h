#pragma once

#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "base/turns.h"
#include "fleet/cache.h"
#include "fleet/engine.h"
#include "fleet/task.h"
#include "store/store.h"

namespace textmill::fleet {

/// The files of containers' images: an engine keeps and knows the images, here each is unpacked once, to be the root of
/// what runs in it: FOLDER/ID. What was used last stays longest. They do not outlive the machine's run: nothing waits for
/// the disk.
class Containers {
 public:
  /// `most`: bytes, which what is in use may exceed.
  Containers(store::Store& store, uint64_t most);

  /// Before anything is asked for. An empty path: there is no engine.
  void start(const base::Path& engine);

  /// Makes `task`, of that folder, one that runs in a container of an image: its root, what the image says of its
  /// environment where nobody else said something, where it starts. Takes the time that the engine takes. Throws as Engine
  /// does; invalid without one; invalid, limit for files that cannot be a root.
  ContainerImage use(const std::string& image, Task& task, const AttemptFolder& folder,
                     const std::stop_token& stop);

  std::vector<CacheEntry> entries() const { return cache_entries(folder_); }
  uint64_t trim(uint64_t most);
  /// The root of an attempt that is there, or is about to be.
  std::set<std::string> in_use() const;

 private:
  base::Path unpacked(const std::string& name, const ContainerImage& image, const std::stop_token& stop);
  void unpack(const std::string& name, const ContainerImage& image, const std::stop_token& stop);
  void remove_left_over(const std::string& own, const std::stop_token& stop);
  std::string container_of(const std::string& id) const;

  store::Store& store_;
  const base::Path folder_;
  const uint64_t most_;
  std::optional<Engine> engine_;
  std::mutex mutex_;
  base::Turns turns_;                // images that a thread is at
  std::set<std::string> left_over_;  // whose containers the engine may hold still
};

}  // namespace textmill::fleet
