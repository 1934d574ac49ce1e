// Any bytes are frames or an error; frames of string headers come back as they were.

#include <cstdlib>

#include "base/error.h"
#include "wire/event_stream.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace textmill;
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    wire::EventDecoder decoder;
    decoder.feed(bytes);
    while (decoder.next()) {}
  } catch (const base::Error& error) {
    if (error.kind() != base::Kind::invalid) std::abort();
  }
  auto name = bytes.substr(0, std::min<size_t>(size, 255));
  wire::EventDecoder decoder;
  decoder.feed(wire::encode_event({{name, bytes.substr(0, 30'000)}}, bytes));
  auto event = decoder.next();
  if (!event || event->header(name) != bytes.substr(0, 30'000) || event->payload != bytes) std::abort();
  return 0;
}
