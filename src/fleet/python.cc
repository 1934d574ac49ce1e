#include "fleet/python.h"

#include <string_view>

#include "base/hash.h"

namespace textmill::fleet {

using base::Path;

// Made by CMake from src/fleet/python/.
extern const std::string_view kServePy, kTrainPy, kEnvironmentPy;

Path python_folder(const Path& data_folder) {
  const std::pair<const char*, std::string_view> files[] = {
      {"serve.py", kServePy}, {"train.py", kTrainPy}, {kEnvironmentScript, kEnvironmentPy}};
  std::string all;
  for (const auto& [name, text] : files) all += text;
  Path folder = data_folder / "cache/python" / base::sha256_hex(all).substr(0, 16);
  using std::filesystem::perms;  // programs may be another user's
  auto show = [](const Path& path) {
    std::filesystem::permissions(path, perms::others_read | perms::others_exec,
                                 std::filesystem::perm_options::add);
  };
  std::filesystem::create_directories(folder);
  show(folder);
  for (const auto& [name, text] : files) {
    if (!std::filesystem::exists(folder / name)) base::write_file_durably(folder / name, text);
    show(folder / name);
  }
  return folder;
}

std::vector<std::string> in_own_environment(const Path& environment, const Path& python,
                                            const std::vector<std::string>& command) {
  std::vector<std::string> out{environment / "bin/python", python / kEnvironmentScript};
  out.insert(out.end(), command.begin(), command.end());
  return out;
}

}  // namespace textmill::fleet
