#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "format/input_file.h"

namespace textmill::format {

struct CsvDialect {
  char separator = ',';
  bool quotes = true;  // RFC 4180's: "a ""b"", c"
};
inline constexpr CsvDialect kCsv{};
/// GLUE's files hold quotation marks that are just text.
inline constexpr CsvDialect kTsv{'\t', false};

/// The records of a CSV or TSV file, plain or compressed, one at a time. Fields may be quoted and then hold separators,
/// doubled quotes and line breaks; a quote within an unquoted field is text. An empty line is a record of one empty
/// field. Throws invalid "FILE:LINE: ..." for text after a closing quote, a quote that never closes, or wrong UTF-8.
class CsvReader {
 public:
  CsvReader(const base::Path& path, CsvDialect dialect) : lines_(path), dialect_(dialect) {}
  CsvReader(std::string_view text, const base::Path& name, CsvDialect dialect)
      : lines_(text, name), dialect_(dialect) {}

  /// Goes to the next record; false after the last.
  bool next();
  /// Its fields, valid until next().
  const std::vector<std::string_view>& fields() const { return fields_; }
  /// The number of the line it begins on, and "FILE:LINE".
  size_t line() const { return line_; }
  std::string where() const;

 private:
  [[noreturn]] void fail(const char* what) const;
  void split(std::string_view line);
  void split_quoted(std::string_view line);
  size_t read_quoted(std::string_view& line, size_t at);

  LineReader lines_;
  CsvDialect dialect_;
  size_t line_ = 0;
  std::string text_;          // the record's fields without quotes, end to end ...
  std::vector<size_t> ends_;  // ... and where each ends
  std::vector<std::string_view> fields_;
};

/// A CSV field, quoted if it has to be.
std::string csv_field(std::string_view text, char separator = ',');

}  // namespace textmill::format
