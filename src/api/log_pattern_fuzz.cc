// The first line is a pattern, the rest a message: whatever is accepted, matches or does not, and what matches has the
// pattern's literal.

#include <cstdlib>

#include "api/log_pattern.h"
#include "base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace textmill;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  size_t end = std::min(text.find('\n'), text.size());
  std::string_view pattern = text.substr(0, std::min<size_t>(end, 1024)), message = text.substr(end);
  try {
    api::LogPattern parsed(pattern);
    bool has_literal = message.find(parsed.literal()) != std::string_view::npos;
    bool matches = parsed.matches(message);
    if (matches && !has_literal) std::abort();
    if (parsed.is_literal() && matches != has_literal) std::abort();
  } catch (const base::Error& error) {
    if (error.kind() != base::Kind::invalid) std::abort();
  }
  return 0;
}
