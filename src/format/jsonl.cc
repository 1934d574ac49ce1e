#include "format/jsonl.h"

namespace textmill::format {

std::optional<Json> JsonLinesReader::next() {
  while (auto line = lines_.next()) {
    if (line->find_first_not_of(" \t") == std::string_view::npos) continue;
    return parse_json(*line, lines_.path().string(), {.line = lines_.line()});
  }
  return std::nullopt;
}

}  // namespace textmill::format
