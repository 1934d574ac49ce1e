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

}  // namespace textmill::cli
