#include "data/table.h"

#include <fmt/format.h>

#include "base/error.h"

namespace textmill::data {

bool TableReader::next() {
  while (rows_.next()) {
    size_t width = fields().size();
    if (width == 1 && fields()[0].empty() && width_ != 1) continue;
    if (width_ == 0) width_ = width;
    if (width == width_) return true;
    throw base::Error(base::Kind::invalid,
                      fmt::format("{}: the row has {} columns, expected {}", where(), width, width_));
  }
  return false;
}

}  // namespace textmill::data
