#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/files.h"

namespace textmill::format {

/// A value of a configuration file, as text (what a flag would say), and where it stands: "FILE:LINE".
struct TomlValue {
  std::string text;
  std::string where;
};

/// The values of a TOML file by dotted name ("serve.max_queue"): strings, integers, floats and booleans. Throws invalid
/// "FILE:LINE: ..." for what is not TOML, and for dates, arrays and other values that no flag takes.
std::map<std::string, TomlValue> read_toml(const base::Path& path);
std::map<std::string, TomlValue> parse_toml(std::string_view text, std::string_view where);

}  // namespace textmill::format
