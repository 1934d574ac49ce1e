#include <cstdlib>

#include "base/error.h"
#include "format/toml.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace textmill;
  try {
    format::parse_toml({reinterpret_cast<const char*>(data), size}, "input");
  } catch (const base::Error& error) {
    if (error.kind() != base::Kind::invalid) std::abort();
  }
  return 0;
}
