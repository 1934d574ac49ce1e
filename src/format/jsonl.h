#pragma once

#include <optional>

#include "format/input_file.h"
#include "format/json.h"

namespace textmill::format {

/// The values of a JSON Lines file, plain or compressed, one at a time; blank lines are skipped. Errors are parse_json's
/// with the line of the file.
class JsonLinesReader {
 public:
  explicit JsonLinesReader(const base::Path& path) : lines_(path) {}
  std::optional<Json> next();
  /// "FILE:LINE" of the value that came last.
  std::string where() const { return lines_.where(); }

 private:
  LineReader lines_;
};

}  // namespace textmill::format
