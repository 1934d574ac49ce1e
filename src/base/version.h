#pragma once

#include <string>

namespace textmill::base {

/// "0.1.0 (1a2b3c4)": the release, and the commit that it was built from where that was known.
std::string version();

}  // namespace textmill::base
