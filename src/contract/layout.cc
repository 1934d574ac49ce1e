#include "contract/layout.h"

#include <cstdlib>

namespace textmill::contract {

Layout Layout::from_environment() {
  const char* root = std::getenv(kRootVariable);
  return Layout(root && *root ? root : kDefaultRoot);
}

void report_failure(const Layout& layout, const base::Error& error) {
  if (error.kind() == base::Kind::cancelled) return;
  std::filesystem::create_directories(layout.failure().parent_path());
  base::write_file_durably(layout.failure(), error.what());
}

}  // namespace textmill::contract
