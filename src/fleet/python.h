#pragma once

#include <string>
#include <vector>

#include "base/files.h"

namespace textmill::fleet {

/// The folder with the Python files that this program carries (src/fleet/python/), below a data folder; written when it
/// is not there. Its name changes with what is in it.
base::Path python_folder(const base::Path& data_folder);
/// The one there that runs a command in an environment of its own, or installs what a requirements.txt names.
inline constexpr const char* kEnvironmentScript = "textmill_environment.py";
/// The command that does so: `command` beside an environment, `python` being that folder.
std::vector<std::string> in_own_environment(const base::Path& environment, const base::Path& python,
                                            const std::vector<std::string>& command);

}  // namespace textmill::fleet
