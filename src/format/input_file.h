#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/files.h"

namespace textmill::format {

/// The bytes of a file from front to back. gzip and zstd are known by their first bytes, whatever the name, and
/// decompressed (several members or frames in a row too); memory does not grow with the file.
class InputFile {
 public:
  explicit InputFile(const base::Path& path);
  /// Text that is in memory already, such as a request's body; `name` stands for it in errors.
  InputFile(std::string_view text, const base::Path& name);
  ~InputFile();

  /// Fills the front of `out`; 0 only at the end (or for an empty `out`). Damaged or cut compressed data throws invalid.
  size_t read(std::span<char> out);
  const base::Path& path() const { return path_; }

 private:
  struct Decoder;
  size_t read_raw(std::span<char> out);
  bool refill();
  size_t decode_gzip(std::span<char> out);
  size_t decode_zstd(std::span<char> out);
  [[noreturn]] void fail(std::string_view what) const;

  base::Path path_;
  base::Descriptor file_;
  std::unique_ptr<char[]> buffer_;    // raw bytes of the file ...
  size_t begin_ = 0, end_ = 0;        // ... of which these are not used yet
  std::unique_ptr<Decoder> decoder_;  // null for a plain file
};

/// The lines of a file, decompressed, checked to be UTF-8; a byte order mark at the front is dropped.
class LineReader {
 public:
  /// A longer line throws limit: a file that is no text must not fill the memory.
  static constexpr size_t kLimit = size_t{64} << 20;

  explicit LineReader(const base::Path& path, size_t limit = kLimit);
  LineReader(std::string_view text, const base::Path& name, size_t limit = kLimit);

  /// The next line without its end (\n or \r\n), valid until the next call; nothing after the last. Throws invalid
  /// "FILE:LINE: ..." for a line that is not UTF-8.
  std::optional<std::string_view> next();
  /// The same with its end.
  std::optional<std::string_view> next_raw();

  /// The number of the line that came last, from 1.
  size_t line() const { return line_; }
  /// "FILE:LINE"
  std::string where() const;
  const base::Path& path() const { return file_.path(); }

 private:
  InputFile file_;
  const size_t limit_;
  std::string buffer_;
  size_t begin_ = 0, end_ = 0, line_ = 0;
};

}  // namespace textmill::format
