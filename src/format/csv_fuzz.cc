// Any bytes, as CSV, TSV and JSON Lines: records or an error, and what quoting writes reads back.

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include "base/error.h"
#include "format/csv.h"
#include "format/jsonl.h"

using namespace textmill;

namespace {

std::vector<std::vector<std::string>> records(const base::Path& path, format::CsvDialect dialect) {
  std::vector<std::vector<std::string>> out;
  format::CsvReader reader(path, dialect);
  while (reader.next()) out.emplace_back(reader.fields().begin(), reader.fields().end());
  return out;
}

void check(auto&& action) {
  try {
    action();
  } catch (const base::Error& error) {
    if (error.kind() != base::Kind::invalid) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const int file = ::memfd_create("input", 0);
  static const base::Path path = "/proc/self/fd/" + std::to_string(file);
  auto write = [&](std::string_view bytes) {
    if (::ftruncate(file, 0) != 0 || ::pwrite(file, bytes.data(), bytes.size(), 0) < 0) std::abort();
  };
  write({reinterpret_cast<const char*>(data), size});
  check([&] { records(path, format::kTsv); });
  check([&] {
    format::JsonLinesReader reader(path);
    while (reader.next()) {}
  });
  check([&] {
    auto first = records(path, format::kCsv);
    std::string text = "\xEF\xBB\xBF";  // the reader drops one: not one that belongs to the first field
    for (const auto& record : first) {
      for (const auto& field : record) text += format::csv_field(field) + ",";
      text.back() = '\n';
    }
    write(text);
    if (records(path, format::kCsv) != first) std::abort();
  });
  return 0;
}
