#include "data/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <variant>

#include "base/error.h"
#include "base/hash.h"
#include "base/utf8.h"
#include "data/table.h"
#include "format/jsonl.h"

namespace textmill::data {

using base::Error;
using base::Kind;
using base::Path;

namespace {

constexpr size_t kTextFileLimit = format::LineReader::kLimit;
constexpr std::string_view kFastTextLabel = "__label__";

Error wrong(const std::string& where, const std::string& what) {
  return Error(Kind::invalid, where + ": " + what);
}

/// Names in a folder in the order of their bytes, without those that tools leave there (.name, _NAME).
std::vector<Path> entries(const Path& folder) {
  std::vector<Path> out;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::string name = entry.path().filename().string();
    if (!name.starts_with('.') && !name.starts_with('_')) out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

struct TableSource {
  TableReader rows;
  bool header;  // not read yet

  TableSource(const Path& file, const Schema& schema)
      : rows(file, schema.form, schema.header ? 0 : schema.width), header(schema.header) {}
  bool next(const Schema& schema, Example& example) {
    if (header && !rows.next()) return false;
    header = false;
    if (!rows.next()) return false;
    const auto& fields = rows.fields();
    auto field = [&](const Column& column) {
      if (column.index < fields.size()) return fields[column.index];
      throw wrong(where(), fmt::format("the row has {} columns, expected {}", fields.size(), schema.width));
    };
    example.text = field(schema.text);
    if (schema.text_pair) example.text_pair = field(*schema.text_pair);
    if (schema.label) example.label = field(*schema.label);
    return true;
  }
  std::string where() const { return rows.where(); }
};

struct JsonSource {
  format::JsonLinesReader lines;
  Inputs inputs;
  bool has_pair = false;  // a row had its member, if only as null

  JsonSource(const Path& file, Inputs inputs) : lines(file), inputs(inputs) {}
  bool next(const Schema& schema, Example& example) {
    auto value = lines.next();
    if (!value) return false;
    format::JsonView row(*value, where());
    format::JsonView text = row.at(schema.text.name);
    if (inputs == Inputs::texts_or_ids && text.value().array()) {
      read_ids(row, text, schema, example);
    } else {
      example.text = text.string();
    }
    if (schema.text_pair) {
      auto pair = row.find(schema.text_pair->name);
      if (pair) example.text_pair = pair->string();
      has_pair |= pair || value->find(schema.text_pair->name);
    }
    if (!schema.label) return true;
    if (auto label = row.find(schema.label->name)) example.label = label_text(*label);
    return true;
  }
  static void read_ids(const format::JsonView& row, const format::JsonView& ids, const Schema& schema,
                       Example& example) {
    if (schema.text_pair) ids.fail("a text, as it is paired with one");
    auto numbers = [](const format::JsonView& list) {
      auto values = list.integers(INT32_MIN, INT32_MAX);
      if (values.empty()) list.fail("at least one number");
      return values;
    };
    example.text.clear();
    example.input_ids = numbers(ids);
    if (auto mask = row.find("attention_mask")) example.attention_mask = numbers(*mask);
    if (auto types = row.find("token_type_ids")) example.token_type_ids = numbers(*types);
  }
  static std::string label_text(const format::JsonView& label) {
    constexpr double kExact = 1LL << 53;  // beyond it two numbers are one
    const format::Json& value = label.value();
    const double* real = value.real();
    if (value.string()) return label.string();
    if (!value.integer() && !real && !value.boolean()) label.fail("a string, a number, true or false");
    if (real && std::abs(*real) >= kExact) label.fail("a string, or a number of 64 bits");
    // A column of whole numbers in which one was missing has been written as 5.0.
    return real && std::trunc(*real) == *real ? std::to_string(static_cast<int64_t>(*real)) : to_text(value);
  }
  std::string where() const { return lines.where(); }
};

struct FastTextSource {
  format::LineReader lines;

  explicit FastTextSource(const Path& file) : lines(file) {}
  bool next(const Schema&, Example& example) {
    std::optional<std::string_view> line;
    do {
      line = lines.next();
      if (!line) return false;
    } while (line->empty());
    while (line->starts_with(kFastTextLabel)) {
      if (example.label) throw wrong(where(), "more than one label");
      size_t end = std::min(line->find_first_of(" \t"), line->size());
      example.label = line->substr(kFastTextLabel.size(), end - kFastTextLabel.size());
      line->remove_prefix(std::min(line->find_first_not_of(" \t", end), line->size()));
    }
    example.text = *line;
    return true;
  }
  std::string where() const { return lines.where(); }
};

struct TextFileSource {
  Path path;
  std::string label;
  bool done = false;

  TextFileSource(Path file, std::string name) : path(std::move(file)), label(std::move(name)) {}
  bool next(const Schema&, Example& example) {
    if (std::exchange(done, true)) return false;
    example.text = base::read_file(path, kTextFileLimit);
    if (auto bad = base::invalid_utf8(example.text)) {
      auto line =
          1 + std::count(example.text.begin(), example.text.begin() + static_cast<ptrdiff_t>(*bad), '\n');
      throw wrong(fmt::format("{}:{}", where(), line), "not UTF-8");
    }
    if (example.text.ends_with('\n')) example.text.pop_back();
    example.label = label;
    return true;
  }
  std::string where() const { return path.string(); }
};

}  // namespace

struct DatasetReader::Source : std::variant<TableSource, JsonSource, FastTextSource, TextFileSource> {
  using variant::variant;
};

DatasetReader::DatasetReader(const Path& path, const Columns& columns, bool labels, Inputs inputs)
    : columns_(columns), labels_(labels), inputs_(inputs) {
  list_files(path);
  if (files_.empty()) throw wrong(path.string(), "the folder holds no data");
  open(files_[0]);
}

DatasetReader::~DatasetReader() = default;

void DatasetReader::list_files(const Path& path) {
  if (!std::filesystem::is_directory(path)) {
    if (std::filesystem::exists(path) && !std::filesystem::is_regular_file(path))
      throw wrong(path.string(), "is no regular file; it is read twice, first to find its columns: save it");
    files_.push_back({path, ""});
    return;
  }
  std::vector<Path> folders, files;
  for (const Path& entry : entries(path))
    (std::filesystem::is_directory(entry) ? folders : files).push_back(entry);
  if (folders.empty()) {
    for (const Path& file : files) files_.push_back({file, ""});
    return;
  }
  // The layout of aclImdb: beside pos and neg lie reviews without a label, and lists of words.
  auto is_named = [](std::string_view name) {
    return [name](const Path& p) { return p.filename() == name; };
  };
  bool reviews = std::any_of(folders.begin(), folders.end(), is_named("pos")) &&
                 std::any_of(folders.begin(), folders.end(), is_named("neg"));
  if (reviews) std::erase_if(folders, is_named("unsup"));
  schema_.form = Form::text_file;
  schema_.beside = files.size();
  for (const Path& folder : folders) {
    for (const Path& file : entries(folder)) {
      if (std::filesystem::is_directory(file))
        throw wrong(file.string(), "a folder within the folder of a class");
      files_.push_back({file, folder.filename().string()});
    }
  }
}

void DatasetReader::open(const File& file) {
  ++at_;
  if (schema_.form == Form::text_file) {
    if (at_ == 1) {
      size_t beside = schema_.beside;
      schema_ = find_schema(Sample{.form = Form::text_file}, columns_, labels_, file.path.string());
      schema_.beside = beside;
    }
    source_ = std::make_unique<Source>(std::in_place_type<TextFileSource>, file.path, file.label);
    return;
  }
  Schema found = find_schema(file.path, at_ == 1 ? columns_ : schema_.columns(), labels_);
  if (at_ > 1 && (found.form != schema_.form || found.header != schema_.header ||
                  (found.form != Form::json_lines && found.width != schema_.width))) {
    throw wrong(file.path.string(), fmt::format("is {}, but {} is {}", found.describe(),
                                                files_[0].path.filename().string(), schema_.describe()));
  }
  if (at_ == 1) {
    schema_ = std::move(found);
  } else {  // the same columns, perhaps in another order
    schema_.text = std::move(found.text);
    schema_.text_pair = std::move(found.text_pair);
    schema_.label = std::move(found.label);
  }
  if (schema_.form == Form::json_lines) {
    source_ = std::make_unique<Source>(std::in_place_type<JsonSource>, file.path, inputs_);
  } else if (schema_.form == Form::fasttext) {
    source_ = std::make_unique<Source>(std::in_place_type<FastTextSource>, file.path);
  } else {
    source_ = std::make_unique<Source>(std::in_place_type<TableSource>, file.path, schema_);
  }
}

bool DatasetReader::next(Example& example) {
  while (true) {
    for (auto* numbers : {&example.input_ids, &example.attention_mask, &example.token_type_ids})
      numbers->clear();
    example.text_pair.reset();
    example.label.reset();
    if (std::visit([&](auto& source) { return source.next(schema_, example); }, *source_)) break;
    const auto* rows = std::get_if<JsonSource>(source_.get());
    paired_ |= !rows || rows->has_pair;
    if (at_ == files_.size()) {
      if (!schema_.text_pair || schema_.pair_may_lack || paired_) return false;
      throw wrong(files_[0].path.string(), fmt::format("no row has \"{}\"", schema_.text_pair->name));
    }
    open(files_[at_]);
  }
  check(example);
  return true;
}

void DatasetReader::check(const Example& example) const {
  if (labels_ && !example.label) throw wrong(where(), "the label is missing");
  if (labels_ && example.label->empty()) throw wrong(where(), "the label is empty");
}

std::string DatasetReader::where() const {
  return std::visit([](const auto& source) { return source.where(); }, *source_);
}

std::string dataset_sha256(const Path& path) {
  if (!std::filesystem::is_directory(path)) return base::sha256_file(path);
  std::vector<std::string> lines;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
    if (!entry.is_regular_file()) continue;
    std::string name = entry.path().lexically_relative(path).string();
    lines.push_back(fmt::format("{} {}\n", name, base::sha256_file(entry.path())));
  }
  std::sort(lines.begin(), lines.end());
  return base::sha256_hex(fmt::format("{}", fmt::join(lines, "")));
}

}  // namespace textmill::data
