#include "format/csv.h"

#include <fmt/format.h>

#include "base/error.h"

namespace textmill::format {

using base::Error;
using base::Kind;

std::string CsvReader::where() const { return fmt::format("{}:{}", lines_.path().string(), line_); }

void CsvReader::fail(const char* what) const {
  throw Error(Kind::invalid, fmt::format("{}: {}", where(), what));
}

bool CsvReader::next() {
  auto line = lines_.next_raw();
  if (!line) return false;
  line_ = lines_.line();
  fields_.clear();
  if (dialect_.quotes && line->find('"') != std::string_view::npos)
    split_quoted(*line);
  else
    split(*line);
  return true;
}

namespace {

std::string_view without_end(std::string_view line) {
  if (line.ends_with('\n')) line.remove_suffix(1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

}  // namespace

void CsvReader::split(std::string_view line) {
  line = without_end(line);
  for (size_t end; (end = line.find(dialect_.separator)) != std::string_view::npos;
       line.remove_prefix(end + 1)) {
    fields_.push_back(line.substr(0, end));
  }
  fields_.push_back(line);
}

void CsvReader::split_quoted(std::string_view line) {
  text_.clear();
  ends_.clear();
  for (size_t at = 0;; ++at) {
    if (at < line.size() && line[at] == '"') {
      at = read_quoted(line, at + 1);
    } else {
      size_t end = std::min(line.find(dialect_.separator, at), without_end(line).size());
      text_ += line.substr(at, end - at);
      at = end;
    }
    ends_.push_back(text_.size());
    if (at == line.size() || line[at] != dialect_.separator) break;
  }
  size_t begin = 0;
  for (size_t end : ends_) {
    fields_.push_back(std::string_view(text_).substr(begin, end - begin));
    begin = end;
  }
}

/// Appends the quoted field whose text begins at `at`, fetching lines until it closes; the offset after the quote.
size_t CsvReader::read_quoted(std::string_view& line, size_t at) {
  while (true) {
    size_t quote = line.find('"', at);
    text_ += line.substr(at, quote - at);
    if (quote == std::string_view::npos) {
      if (text_.size() > LineReader::kLimit) {
        throw Error(Kind::limit,
                    fmt::format("{}: the record is longer than {} bytes", where(), LineReader::kLimit));
      }
      auto more = lines_.next_raw();
      if (!more) fail("a quote opens here and never closes");
      line = *more;
      at = 0;
    } else if (quote + 1 < line.size() && line[quote + 1] == '"') {
      text_ += '"';
      at = quote + 2;
    } else {
      size_t after = quote + 1;
      if (after < without_end(line).size() && line[after] != dialect_.separator)
        fail("text after a closing quote");
      return after;
    }
  }
}

std::string csv_field(std::string_view text, char separator) {
  bool plain = text.find_first_of("\"\r\n") == std::string_view::npos &&
               text.find(separator) == std::string_view::npos;
  if (plain) return std::string(text);
  std::string out = "\"";
  for (char c : text) out.append(c == '"' ? 2 : 1, c);
  return out + '"';
}

}  // namespace textmill::format
