#pragma once

#include "base/files.h"
#include "format/json.h"

namespace textmill::offline {

/// What a model folder or archive holds and takes: architecture, labels, parameters, bytes by format, FLOPs per token,
/// memory to serve and to train. Nothing of the size of the weights is read or allocated. Throws invalid or not_found
/// (exit status 2) if it is not a model of ours.
format::Json describe(const base::Path& model);

}  // namespace textmill::offline
