// Whatever parses prints to text that parses to the same value.

#include <cstdlib>

#include "base/error.h"
#include "format/json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace textmill;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    format::Json value = format::parse_json(text, "input");
    if (format::parse_json(format::to_text(value), "text") != value) std::abort();
    if (format::parse_json(format::to_pretty_text(value), "pretty") != value) std::abort();
  } catch (const base::Error& error) {
    if (error.kind() != base::Kind::invalid) std::abort();
  }
  return 0;
}
