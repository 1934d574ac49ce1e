// Encodes what tests/golden/test_tokenizer.py asks for: tokenizer FOLDER < requests > answers. Numbers are int32.
// Request: bytes of the first text, bytes of the second or -1, max_length or -1, add_special_tokens; then the texts.
// Answer: tokens; then their ids, type ids and offsets (begin, end); or -1 where it is refused, as invalid.

#include <cstdint>
#include <cstdio>
#include <string>

#include "base/error.h"
#include "text/tokenizer.h"

using namespace textmill;

namespace {

std::string read_text(int32_t bytes) {
  std::string text(static_cast<size_t>(bytes), '\0');
  if (fread(text.data(), 1, text.size(), stdin) != text.size())
    throw base::Error(base::Kind::invalid, "the request ends within a text");
  return text;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) throw base::Error(base::Kind::invalid, "usage: tokenizer FOLDER");
  text::Tokenizer tokenizer = text::Tokenizer::load(argv[1]);
  text::Encoding encoding;
  for (int32_t request[4]; fread(request, sizeof request, 1, stdin) == 1;) {
    std::string first = read_text(request[0]);
    std::optional<std::string> second;
    if (request[1] >= 0) second = read_text(request[1]);
    text::EncodeOptions options{.add_special_tokens = request[3] != 0};
    if (request[2] >= 0) options.max_length = static_cast<size_t>(request[2]);
    int32_t size = -1;
    try {
      tokenizer.encode(first, second, options, encoding);
      size = static_cast<int32_t>(encoding.size());
    } catch (const base::Error& error) {
      if (error.kind() != base::Kind::invalid) throw;
      encoding.clear();
    }
    fwrite(&size, sizeof size, 1, stdout);
    fwrite(encoding.ids.data(), sizeof encoding.ids[0], encoding.size(), stdout);
    fwrite(encoding.type_ids.data(), sizeof encoding.type_ids[0], encoding.size(), stdout);
    fwrite(encoding.offsets.data(), sizeof encoding.offsets[0], encoding.size(), stdout);
  }
  return 0;
} catch (const base::Error& error) {
  fprintf(stderr, "%s\n", error.what());
  return base::exit_status(error.kind());
}
