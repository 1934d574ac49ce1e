#pragma once

#include "data/schema.h"

namespace textmill::data {

/// The form of a file by its name (without .gz, .zst) and first line.
Form find_form(const base::Path& file);

/// The form and the first rows. Throws invalid naming file and line for rows that are short or otherwise damaged.
Sample read_sample(const base::Path& file);

}  // namespace textmill::data
