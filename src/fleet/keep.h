#pragma once

#include <filesystem>
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
  /// Names go on behind what is there.
  Keeper(base::Path root, base::Path kept);

  /// A file under the root, by its path there. Throws not_found, denied for a way that has a link in it,
  /// conflict for one that was written to meanwhile.
  KeptFile keep(const base::Path& relative);
  /// All of a folder under the root as a tar.gz.
  KeptFile pack(const base::Path& relative);
  /// The same, file by file: paths in the folder and what was kept.
  std::vector<std::pair<std::string, KeptFile>> keep_all(const base::Path& relative);
  /// The first bytes of a file under the root; nothing if it is not there.
  std::string read(const base::Path& relative, size_t most) const;

 private:
  base::Descriptor open(const base::Path& relative, int flags) const;
  void settle_links(const base::Path& folder) const;
  base::Path next();

  base::Path root_, kept_;
  size_t count_ = 0;
};

/// What changed in a folder of checkpoints since the last look.
class Checkpoints {
 public:
  struct Change {
    std::string name;  // in the folder
    bool gone = false;
  };

  /// What is there now is known to be kept already.
  explicit Checkpoints(base::Path folder);
  /// Without `all`, files that changed within the last second wait for the next look, once: somebody may be writing them.
  std::vector<Change> look(bool all);

 private:
  struct Seen {
    uint64_t size = 0;
    std::filesystem::file_time_type changed;
    bool operator==(const Seen&) const = default;
  };
  std::map<std::string, Seen> list() const;

  base::Path folder_;
  std::map<std::string, Seen> known_;
  std::set<std::string> waiting_;
};

}  // namespace textmill::fleet
