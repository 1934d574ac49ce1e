#pragma once

#include "store/database.h"

namespace textmill::store {

/// All steps of the data folder's format.
Migrations schema();

}  // namespace textmill::store
