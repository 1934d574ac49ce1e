#include "cli/columns.h"

#include "base/error.h"

namespace textmill::cli {

Option data_option() {
  return {"data", "F", "TSV, CSV, JSON lines or fastText lines, plain or compressed; or a folder", true};
}

std::vector<Option> with_column_options(std::vector<Option> options, bool label) {
  options.push_back(
      {"text", "COLUMN",
       "column of the text, by name or number (else what the model was trained on, where the file has it, or "
       "guessed, and printed); for a model, JSON lines may hold input ids there"});
  options.push_back({"text-pair", "COLUMN", "column of the second text, for pairs"});
  if (label) options.push_back({"label", "COLUMN", "column of the label"});
  return options;
}

data::Columns columns(const Values& values) {
  for (const char* name : {"text", "text-pair", "label"}) {
    const Given* given = values.find(name);
    if (given && given->where.starts_with("--") && !values.has("data"))
      throw base::Error(base::Kind::invalid, given->where + " names a column of --data, which is missing");
  }
  return {values.text("text"), values.text("text-pair"), values.text("label")};
}

}  // namespace textmill::cli
