#pragma once

#include <vector>

#include "cli/command.h"
#include "data/schema.h"

namespace textmill::cli {

/// --data.
Option data_option();

/// `options`, and which columns of a data set are what: --text, --text-pair, and --label where labels are read.
std::vector<Option> with_column_options(std::vector<Option> options, bool label);
data::Columns columns(const Values& values);

}  // namespace textmill::cli
