#pragma once

#include "base/files.h"
#include "format/json.h"

namespace textmill::offline {

/// What a model folder or archive holds and takes: architecture, labels, parameters, bytes by format, FLOPs per token, bytes
/// of memory that a process will have resident to serve it and to train it. Nothing of the size of the weights is read or
/// allocated. With `calibrate` also the milliseconds of a pass, for sequences of some lengths, on `threads` threads of this
/// machine (0: all), which is measured for a second or two. Throws invalid or not_found (exit status 2) if it is not a model
/// of ours.
format::Json describe(const base::Path& model, bool calibrate = false, int threads = 0);

}  // namespace textmill::offline
