#pragma once

#include "data/schema.h"
#include "format/csv.h"

namespace textmill::data {

/// The rows of a TSV or CSV file, all `width` wide (0: as the first that is not blank); blank lines between them are
/// skipped (in a file of one column they are empty texts). Throws invalid "FILE:LINE: ..." for a row of another width.
class TableReader {
 public:
  explicit TableReader(const base::Path& file, Form form, size_t width = 0)
      : rows_(file, form == Form::csv ? format::kCsv : format::kTsv), width_(width) {}

  bool next();
  const std::vector<std::string_view>& fields() const { return rows_.fields(); }
  std::string where() const { return rows_.where(); }

 private:
  format::CsvReader rows_;
  size_t width_;
};

}  // namespace textmill::data
