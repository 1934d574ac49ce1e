#include "cli/columns.h"

namespace textmill::cli {

Option data_option() {
  return {"data", "F", "TSV, CSV, JSON lines or fastText lines, plain or compressed; or a folder", true};
}

std::vector<Option> with_column_options(std::vector<Option> options, bool label) {
  options.push_back({"text", "COLUMN", "column of the text, by name or number (guessed, and printed)"});
  options.push_back({"text-pair", "COLUMN", "column of the second text, for pairs"});
  if (label) options.push_back({"label", "COLUMN", "column of the label"});
  return options;
}

data::Columns columns(const Values& values) {
  return {values.text("text"), values.text("text-pair"), values.text("label")};
}

}  // namespace textmill::cli
