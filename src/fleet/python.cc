#include "fleet/python.h"

#include <string_view>

#include "base/hash.h"

namespace textmill::fleet {

// Made by CMake from src/fleet/python/.
extern const std::string_view kServePy, kTrainPy;

base::Path python_folder(const base::Path& data_folder) {
  std::string all = std::string(kServePy) + std::string(kTrainPy);
  base::Path folder = data_folder / "cache/python" / base::sha256_hex(all).substr(0, 16);
  if (std::filesystem::exists(folder / "train.py")) return folder;
  std::filesystem::create_directories(folder);
  base::write_file_durably(folder / "serve.py", kServePy);
  base::write_file_durably(folder / "train.py", kTrainPy);
  return folder;
}

}  // namespace textmill::fleet
