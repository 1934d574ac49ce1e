#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/files.h"

namespace textmill::fleet {

/// Bytes in an attempt's kept/ folder, durable, summed on the way.
struct KeptFile {
  std::string file;  // its name in kept/
  uint64_t size = 0;
  std::string sha256, md5;  // hexadecimal
};

/// Takes bytes out of an instance's root into kept/. Links that a program made lead nowhere beyond its root.
class Keeper {
 public:
  Keeper(base::Path root, base::Path kept);

  /// A file under the root, by its path there. Throws not_found, denied for a way that has a link in it, invalid for a
  /// name that is not UTF-8, conflict for one that was written to meanwhile.
  KeptFile keep(const base::Path& relative);
  /// All of a folder under the root as a tar.gz.
  KeptFile pack(const base::Path& relative);
  /// The same, file by file: paths in the folder and what was kept; words about what was not.
  std::vector<std::pair<std::string, KeptFile>> keep_all(const base::Path& relative,
                                                         std::vector<std::string>& left_out);
  /// Whether a folder under the root is there and has something in it.
  bool is_filled(const base::Path& relative) const;
  /// The first bytes of a file under the root; nothing if it is not there.
  std::string read(const base::Path& relative, size_t most) const;

 private:
  base::Descriptor open(const base::Path& relative, int flags) const;
  KeptFile take(base::Descriptor in, const base::Path& relative);
  base::Path target_of(const base::Path& link, int hops = 40) const;
  void settle_links(const base::Path& folder) const;
  base::Path next();

  base::Path root_, kept_;
  size_t count_ = 0;
};

/// What changed since the last look in a folder that is kept while the program runs: checkpoints, TensorBoard's events.
class SyncedFolder {
 public:
  struct Change {
    std::string name;  // in the folder
    bool gone = false;
  };

  /// In a folder below a root. What is there now is known to be kept already.
  SyncedFolder(base::Path root, base::Path folder);
  /// Without `all`, files that changed within the last second wait for the next look, once: somebody may be writing them.
  /// Throws denied where a link leads to the folder.
  std::vector<Change> look(bool all);
  bool has(const std::string& name) const { return known_.contains(name); }

 private:
  struct Seen {
    uint64_t size = 0;
    std::filesystem::file_time_type changed;
    bool operator==(const Seen&) const = default;
  };
  struct Listing {
    std::map<std::string, Seen> files;
    bool whole = true;  // else something changed meanwhile, or is closed
  };
  Listing list() const;

  base::Path root_, folder_;
  std::map<std::string, Seen> known_;
  std::set<std::string> waiting_;
};

/// Such a folder on all hosts of a job, and what its files are of: checkpoint, tensorboard.
struct Synced {
  std::string of;
  base::Path path;  // as the program sees it
  std::map<std::string, SyncedFolder> hosts;
  std::set<std::string> said;  // hosts of which it was said why nothing is kept

  /// `take`s each change, a file that is gone when no host has it any more; `say`s once why nothing is kept of a host.
  void look(bool all, const std::function<void(const std::string& host, const SyncedFolder::Change&)>& take,
            const std::function<void(const std::string& host, const std::string& words)>& say);
};

}  // namespace textmill::fleet
