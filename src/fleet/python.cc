#include "fleet/python.h"

#include <string_view>

#include "base/hash.h"

namespace textmill::fleet {

using base::Path;

// Made by CMake from src/fleet/python/.
extern const std::string_view kServePy, kTrainPy;

Path python_folder(const Path& data_folder) {
  std::string all = std::string(kServePy) + std::string(kTrainPy);
  Path folder = data_folder / "cache/python" / base::sha256_hex(all).substr(0, 16);
  if (!std::filesystem::exists(folder / "train.py")) {
    std::filesystem::create_directories(folder);
    base::write_file_durably(folder / "serve.py", kServePy);
    base::write_file_durably(folder / "train.py", kTrainPy);
  }
  using std::filesystem::perms;  // programs may be another user's
  for (const Path& path : {folder, folder / "serve.py", folder / "train.py"})
    std::filesystem::permissions(path, perms::others_read | perms::others_exec,
                                 std::filesystem::perm_options::add);
  return folder;
}

}  // namespace textmill::fleet
