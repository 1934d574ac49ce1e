#include "wire/event_stream.h"

#include <fmt/format.h>

#include <concepts>
#include <cstring>
#include <span>

#include "base/checksum.h"
#include "base/error.h"

namespace textmill::wire {
namespace {

constexpr size_t kPrelude = 12, kSum = 4;

enum class Kind : uint8_t { yes, no, int8, int16, int32, int64, bytes, string, time, uuid };

base::Error malformed(const std::string& what) { return {base::Kind::invalid, "event stream: " + what}; }

uint32_t sum(std::string_view text) { return base::crc32(std::as_bytes(std::span(text))); }

template <std::unsigned_integral T>
void append(std::string& out, T value) {
  for (int shift = static_cast<int>(sizeof(T) * 8) - 8; shift >= 0; shift -= 8)
    out += static_cast<char>(value >> shift);
}

/// Takes big-endian integers and strings off the front.
struct Reader {
  std::string_view rest;

  std::string_view take(size_t size) {
    if (rest.size() < size) throw malformed("a header is longer than the headers");
    auto out = rest.substr(0, size);
    rest.remove_prefix(size);
    return out;
  }
  uint64_t integer(size_t size) {
    uint64_t out = 0;
    for (char c : take(size)) out = out << 8 | static_cast<uint8_t>(c);
    return out;
  }
  int64_t signed_integer(size_t size) {
    auto shift = static_cast<int>(64 - size * 8);
    return static_cast<int64_t>(integer(size) << shift) >> shift;
  }
};

Event::HeaderValue read_value(Reader& reader) {
  switch (auto kind = reader.integer(1); static_cast<Kind>(kind)) {
    case Kind::yes: return true;
    case Kind::no: return false;
    case Kind::int8: return reader.signed_integer(1);
    case Kind::int16: return reader.signed_integer(2);
    case Kind::int32: return reader.signed_integer(4);
    case Kind::int64:
    case Kind::time: return reader.signed_integer(8);
    case Kind::bytes:
    case Kind::string: return std::string(reader.take(reader.integer(2)));
    case Kind::uuid: return std::string(reader.take(16));
    default: throw malformed(fmt::format("a header of type {}", kind));
  }
}

}  // namespace

std::string_view Event::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name && std::holds_alternative<std::string>(value)) return std::get<std::string>(value);
  }
  return {};
}

std::string encode_event(const std::vector<std::pair<std::string_view, std::string_view>>& headers,
                         std::string_view payload) {
  std::string head;
  for (const auto& [name, value] : headers) {
    TEXTMILL_CHECK(name.size() <= UINT8_MAX && value.size() <= INT16_MAX);
    head += static_cast<char>(name.size());
    (head += name) += static_cast<char>(Kind::string);
    append(head, static_cast<uint16_t>(value.size()));
    head += value;
  }
  std::string out;
  out.reserve(kPrelude + head.size() + payload.size() + kSum);
  append(out, static_cast<uint32_t>(kPrelude + head.size() + payload.size() + kSum));
  append(out, static_cast<uint32_t>(head.size()));
  append(out, sum(out));
  (out += head) += payload;
  append(out, sum(out));
  return out;
}

void EventDecoder::feed(std::string_view bytes) {
  buffer_.erase(0, at_);
  at_ = 0;
  buffer_ += bytes;
}

std::optional<Event> EventDecoder::next() {
  std::string_view frame = std::string_view(buffer_).substr(at_);
  if (frame.size() < kPrelude) return std::nullopt;
  Reader prelude{frame};
  uint64_t size = prelude.integer(4), head = prelude.integer(4);
  if (prelude.integer(4) != sum(frame.substr(0, 8))) throw malformed("the sum of a prelude is wrong");
  if (size > kMaxFrame || size < kPrelude + head + kSum) {
    throw malformed(fmt::format("a frame of {} bytes with headers of {}", size, head));
  }
  if (frame.size() < size) return std::nullopt;
  frame = frame.substr(0, size);
  if (Reader{frame.substr(size - kSum)}.integer(4) != sum(frame.substr(0, size - kSum))) {
    throw malformed("the sum of a frame is wrong");
  }
  Event event;
  for (Reader reader{frame.substr(kPrelude, head)}; !reader.rest.empty();) {
    std::string name(reader.take(reader.integer(1)));
    event.headers.emplace_back(std::move(name), read_value(reader));
  }
  event.payload = frame.substr(kPrelude + head, size - kPrelude - head - kSum);
  at_ += size;
  return event;
}

}  // namespace textmill::wire
