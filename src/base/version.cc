#include "base/version.h"

namespace textmill::base {

std::string version() {
  std::string commit = TEXTMILL_COMMIT;
  return TEXTMILL_VERSION + (commit.empty() ? "" : " (" + commit + ")");
}

}  // namespace textmill::base
