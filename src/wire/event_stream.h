#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace textmill::wire {

/// A frame of application/vnd.amazon.eventstream: big endian; its length, that of the headers, their CRC-32, headers,
/// payload, CRC-32 of all before.
struct Event {
  /// true/false, integers of 8 to 64 bits and times in milliseconds as int64_t; bytes, strings and UUIDs as a string.
  using HeaderValue = std::variant<bool, int64_t, std::string>;
  std::vector<std::pair<std::string, HeaderValue>> headers;
  std::string payload;

  /// The string of that name, or "".
  std::string_view header(std::string_view name) const;
};

/// A frame of string headers: `:message-type`, `:event-type`, `:content-type` ...
std::string encode_event(const std::vector<std::pair<std::string_view, std::string_view>>& headers,
                         std::string_view payload);

/// Frames out of bytes that come in pieces of any size.
class EventDecoder {
 public:
  static constexpr size_t kMaxFrame = 24 << 20;  // the protocol's own bound on a payload, and on headers

  void feed(std::string_view bytes);
  /// The next whole frame. Throws invalid for a wrong sum, length or header.
  std::optional<Event> next();
  /// True if the bytes end with a frame.
  bool at_end() const { return at_ == buffer_.size(); }

 private:
  std::string buffer_;
  size_t at_ = 0;  // of the next frame
};

}  // namespace textmill::wire
