#include "cli/output.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace textmill::cli {

void Output::write() {
  for (size_t done = 0; done < buffer_.size();) {
    ssize_t count = ::write(STDOUT_FILENO, buffer_.data() + done, buffer_.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EPIPE) throw base::Error(base::Kind::cancelled, "nobody reads stdout any more");
    if (count < 0) throw base::Error(base::Kind::unavailable, std::string("stdout: ") + std::strerror(errno));
    done += static_cast<size_t>(count);
  }
  buffer_.clear();
}

}  // namespace textmill::cli
