#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"

namespace textmill::data {

/// How a file holds examples.
enum class Form {
  tsv,         // tab-separated, no quoting; also plain text, one example per line
  csv,         // RFC 4180
  json_lines,  // one object per line
  fasttext,    // __label__NAME and the text
  text_file,   // the whole file is one text; its folder's name is the label
};

/// Which columns are what, as a user says it: a name of the header (or a member's path in JSON), or a number from 1.
/// Empty: to be guessed.
struct Columns {
  std::string text, text_pair, label;
  bool pair_may_lack = false;  // it was guessed of another file: no row of JSON need have it
  /// Remembered, not asked: by name, of a file that has them; of others they are guessed.
  bool texts_if_there = false, label_if_there = false;
};

struct Column {
  size_t index = 0;        // in the row, from 0 (tables)
  std::string name;        // from the header or the object; empty if there is none
  bool by_number = false;  // so the user said
};

/// How to read the rows of a file.
struct Schema {
  Form form = Form::tsv;
  bool header = false;  // of a table: the first row names the columns
  size_t width = 0;     // of a table: columns of each row
  size_t beside = 0;    // files beside the folders of classes, which are not read
  Column text;
  std::optional<Column> text_pair, label;
  bool guessed = false;   // not all of it was said by the user
  bool doubtful = false;  // whether the first row names columns is told by its label alone
  bool pair_may_lack = false;

  /// For people: `TSV with a header: text is column 4 "#1 String", ... (guessed)`.
  std::string describe() const;
  /// What to ask of another file so that it is read alike.
  Columns columns() const;
  /// What the columns are called; none of the texts if one has no name of its own.
  Columns names() const;
};

/// The first rows of a file: for JSON, names and each row's values by name ("" where absent).
struct Sample {
  Form form = Form::tsv;
  std::vector<std::vector<std::string>> rows;  // of equal length, the header (if any) among them
  std::vector<std::string> names;              // of JSON members
};

/// Finds the form of a file (by its name and first line) and its columns. `labels`: whether each row must have a label;
/// otherwise it is taken if it is there. Throws invalid, naming the file, when it is empty, or a column is not there, or
/// nothing tells which column is what.
Schema find_schema(const base::Path& file, const Columns& columns, bool labels);

/// The same for a sample at hand; `where` names the file.
Schema find_schema(const Sample& sample, const Columns& columns, bool labels, const std::string& where);

}  // namespace textmill::data
