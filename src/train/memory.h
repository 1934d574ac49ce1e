#pragma once

#include <cstdint>

#include "base/files.h"

namespace textmill::train {

/// Bytes that this process may still take: what the kernel calls available, and no more than the control groups it is in
/// leave. `root` holds /proc and /sys; other than "/" in tests.
int64_t available_memory(const base::Path& root = "/");

}  // namespace textmill::train
