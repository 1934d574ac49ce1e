// WordPiece, one thread, ids and offsets: bench_tokenizer FOLDER FILE encodes each line of the file once and prints one
// JSON object: bytes of text, tokens, seconds. The lines are in memory before, the tokenizer is warm from the first 100.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "text/tokenizer.h"

int main(int argc, char** argv) try {
  using namespace textmill;
  if (argc != 3) throw base::Error(base::Kind::invalid, "usage: bench_tokenizer FOLDER FILE");
  text::Tokenizer tokenizer = text::Tokenizer::load(argv[1]);
  std::vector<std::string> lines;
  std::ifstream file(argv[2]);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  text::Encoding encoding;
  for (size_t i = 0; i < std::min<size_t>(100, lines.size()); ++i)
    tokenizer.encode(lines[i], {}, {}, encoding);

  size_t bytes = 0, tokens = 0;
  auto begin = std::chrono::steady_clock::now();
  for (const std::string& line : lines) {
    tokenizer.encode(line, {}, {}, encoding);
    bytes += line.size();
    tokens += encoding.size();
  }
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  printf("{\"bytes\": %zu, \"tokens\": %zu, \"seconds\": %.6f}\n", bytes, tokens, seconds);
  return 0;
} catch (const textmill::base::Error& error) {
  fprintf(stderr, "%s\n", error.what());
  return textmill::base::exit_status(error.kind());
}
