#pragma once

#include <map>
#include <string>
#include <vector>

#include "fleet/journal.h"
#include "fleet/keep.h"
#include "fleet/task.h"

namespace textmill::fleet {

/// What an attempt leaves, taken to kept/ and told in its journal: checkpoints and TensorBoard's events while it runs, the model
/// and the output afterwards.
class Artifacts {
 public:
  /// Of folders that are laid out: what is there now is known. The arguments must outlive it.
  Artifacts(const AttemptFolder& folder, const Task& task, JournalWriter& journal);

  /// What changed; without `all`, files that are being written wait for the next time.
  void sync(bool all);
  /// The model, unless the program `failed`, and output/data, of all hosts. Throws where the disk or what the program left
  /// does not allow it; to be called again then.
  void pack(bool failed);
  /// The first 4 KiB of a host's output/failure.
  std::string failure_of(const std::string& host);

 private:
  Keeper& keeper(const std::string& host) { return keepers_.at(host); }
  void log(const std::string& host, const std::string& words);
  void add(std::string_view of, const std::string& name, const KeptFile& kept);
  void keep_change(const Synced& one, const std::string& host, const SyncedFolder::Change& change);
  void keep_folder(std::string_view of, const base::Path& relative, const std::string& archive);

  const AttemptFolder& folder_;
  const Task& task_;
  JournalWriter& journal_;
  std::map<std::string, Keeper> keepers_;  // by host
  std::vector<Synced> synced_;
};

}  // namespace textmill::fleet
