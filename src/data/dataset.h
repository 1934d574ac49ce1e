#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "data/schema.h"

namespace textmill::data {

struct Example {
  std::string text;
  std::optional<std::string> text_pair, label;
  // Instead of a text, of a row that was tokenized elsewhere; the last two may be empty.
  std::vector<int64_t> input_ids, attention_mask, token_type_ids;
};

/// What a row may be. Rows of input_ids are JSON lines whose column of the text is a list of numbers; the row's
/// attention_mask and token_type_ids are taken where they are.
enum class Inputs : uint8_t { texts, texts_or_ids };

/// The examples of a data set, one after the other; memory does not grow with it. A data set is
/// - a file: TSV, CSV, JSON lines or fastText lines, plain, gzip or zstd;
/// - a folder of such files of equal columns (as a channel of a training job may be), read in the order of their names;
/// - a folder with a folder of text files for each class (such as pos and neg).
/// Everything that is wrong with it throws invalid: "FILE:LINE: what".
class DatasetReader {
 public:
  /// `labels`: whether each example must have one; otherwise it is taken where it is there.
  explicit DatasetReader(const base::Path& path, const Columns& columns = {}, bool labels = true,
                         Inputs inputs = Inputs::texts);
  ~DatasetReader();

  const Schema& schema() const { return schema_; }
  /// Goes to the next example; false after the last.
  bool next(Example& example);
  /// "FILE:LINE" of the example that came last (or FILE): to say what else is wrong with it.
  std::string where() const;
  /// What `use` makes of the example that came last; its errors name file and line.
  template <class F>
  auto naming(F&& use) const {
    try {
      return use();
    } catch (const base::Error& error) { throw base::Error(error.kind(), where() + ": " + error.what()); }
  }

 private:
  struct File {
    base::Path path;
    std::string label;  // of a text file
  };
  struct Source;

  void list_files(const base::Path& path);
  void open(const File& file);
  void check(const Example& example) const;

  const Columns columns_;
  const bool labels_;
  const Inputs inputs_;
  Schema schema_;
  std::vector<File> files_;
  size_t at_ = 0;        // files opened so far
  bool paired_ = false;  // a file had the column of the second text; rows of JSON may be without
  std::unique_ptr<Source> source_;
};

/// SHA-256 of a data set as it lies on disk: of the file's bytes, or of a folder's sorted lines "NAME SHA256".
std::string dataset_sha256(const base::Path& path);

}  // namespace textmill::data
