// A chunked body gives the same data and the same error whole or in pieces.

#include <cstdlib>

#include "wire/chunks.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace textmill;
  if (size < 2) return 0;
  static constexpr wire::Payload kPayloads[] = {wire::Payload::signed_chunks,
                                                wire::Payload::signed_chunks_trailer,
                                                wire::Payload::unsigned_chunks_trailer};
  wire::Verified verified{.payload = kPayloads[data[0] % 3]};
  size_t piece = 1 + data[1] % 32;
  std::string_view body(reinterpret_cast<const char*>(data) + 2, size - 2);
  auto run = [&](size_t step) {
    wire::ChunkDecoder decoder(verified, 1000);
    std::string out;
    try {
      for (size_t at = 0; at < body.size(); at += step) decoder.feed(body.substr(at, step), out);
      decoder.end();
    } catch (const wire::Fault& fault) { return fault.code(); }
    if (out.size() != 1000) std::abort();
    return out;
  };
  if (run(size) != run(piece)) std::abort();
  return 0;
}
