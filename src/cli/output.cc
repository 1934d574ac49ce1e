#include "cli/output.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/files.h"

namespace textmill::cli {

void Output::write() {
  if (!base::write_all(STDOUT_FILENO, buffer_)) {
    if (errno == EPIPE) throw base::Error(base::Kind::cancelled, "nobody reads stdout any more");
    throw base::Error(base::Kind::unavailable, std::string("stdout: ") + std::strerror(errno));
  }
  buffer_.clear();
}

std::string shell_quoted(std::string_view text) {
  std::string out = "'";
  for (char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

}  // namespace textmill::cli
