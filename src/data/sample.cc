#include "data/sample.h"

#include <algorithm>

#include "data/table.h"
#include "format/jsonl.h"

namespace textmill::data {
namespace {

constexpr size_t kSampleRows = 200;

Sample table_sample(const base::Path& file, Form form) {
  Sample sample{.form = form};
  TableReader reader(file, form);
  while (sample.rows.size() < kSampleRows && reader.next()) {
    sample.rows.emplace_back(reader.fields().begin(), reader.fields().end());
  }
  return sample;
}

Sample json_sample(const base::Path& file) {
  Sample sample{.form = Form::json_lines};
  format::JsonLinesReader reader(file);
  std::vector<format::Json> objects;
  while (objects.size() < kSampleRows) {
    auto value = reader.next();
    if (!value) break;
    for (const auto& [name, member] : format::JsonView(*value, reader.where()).object()) {
      if (std::find(sample.names.begin(), sample.names.end(), name) == sample.names.end())
        sample.names.push_back(name);
    }
    objects.push_back(std::move(*value));
  }
  for (const format::Json& object : objects) {
    auto& row = sample.rows.emplace_back();
    for (const std::string& name : sample.names) {
      const format::Json* member = object.find(name);
      row.push_back(!member ? "" : member->string() ? *member->string() : to_text(*member));
    }
  }
  return sample;
}

}  // namespace

Form find_form(const base::Path& file) {
  base::Path name = file.filename();
  if (name.extension() == ".gz" || name.extension() == ".zst") name = name.stem();
  std::string extension = name.extension().string();
  std::string line(format::LineReader(file).next().value_or(""));
  if (line.starts_with("__label__")) return Form::fasttext;
  if (extension == ".jsonl" || extension == ".ndjson" || extension == ".json") return Form::json_lines;
  if (extension == ".tsv") return Form::tsv;
  auto count = [&](char c) { return std::count(line.begin(), line.end(), c); };
  if (extension == ".csv") return count('\t') > count(',') ? Form::tsv : Form::csv;
  return line.starts_with('{') ? Form::json_lines : Form::tsv;
}

Sample read_sample(const base::Path& file) {
  Form form = find_form(file);
  if (form == Form::fasttext) return {.form = form};
  return form == Form::json_lines ? json_sample(file) : table_sample(file, form);
}

}  // namespace textmill::data
