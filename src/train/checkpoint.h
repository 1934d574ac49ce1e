#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/files.h"

namespace textmill::train {

// A checkpoint is a folder "step-000000000020" that appears whole: its files are written and synced under another name,
// then `manifest`, then the folder is renamed. The manifest says what must be there (a line each: CRC-32C, bytes, name),
// because a folder that was copied file by file (to an object store and back) may be incomplete all the same. A folder
// may also be anything else with a manifest, such as the best model so far.

/// A folder in the making, at root/.NAME.partial.
class FolderWriter {
 public:
  FolderWriter(const base::Path& root, const std::string& name);
  FolderWriter(const FolderWriter&) = delete;
  ~FolderWriter();  // without commit(), nothing is left

  /// Where to put the files, each synced (base::DurableFile).
  const base::Path& path() const { return partial_; }
  /// Writes the manifest and lets the folder appear at root/NAME, in place of what was there. Returns that.
  base::Path commit();

 private:
  base::Path root_, final_, partial_;
};

/// What is wrong with a folder that FolderWriter wrote; nothing if all is as the manifest says. Reads every byte. Throws
/// invalid if a newer textmill wrote it.
std::optional<std::string> damage(const base::Path& folder);

std::string checkpoint_name(int64_t step);

struct Checkpoint {
  base::Path path;
  int64_t step = 0;
};

bool has_checkpoints(const base::Path& root);

/// The newest undamaged checkpoint. Each damaged one that is newer is named in the log, with its damage.
std::optional<Checkpoint> newest_checkpoint(const base::Path& root);

/// What a run that goes on from `step` does first: damaged checkpoints beyond it would pass for the newest.
void remove_newer_checkpoints(const base::Path& root, int64_t step);

/// Removes all but the newest `count` checkpoints, and what earlier runs left half-made.
void prune_checkpoints(const base::Path& root, size_t count);

}  // namespace textmill::train
