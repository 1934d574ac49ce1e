#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace textmill::store {

/// One event of a log stream.
struct LogEvent {
  int64_t time = 0;      // milliseconds since 1970, as its sender has it
  int64_t ingested = 0;  // as the server has it
  int64_t sequence = 0;  // its number in its stream, in the order of arrival
  std::string message;
};

/// The same, with the message in somebody else's memory.
struct LogEventView {
  int64_t time = 0, ingested = 0, sequence = 0;
  std::string_view message;
};

/// Events of one stream as bytes: version, codec, then (zstd where that pays) columns of numbers and all messages end to
/// end, so that a word can be sought in a block without looking at its events.
std::string encode_log_block(std::span<const LogEvent> events);

/// A block that was unpacked but not yet taken apart.
class LogBlock {
 public:
  /// Throws internal for bytes that encode_log_block did not make.
  explicit LogBlock(std::string_view encoded);
  LogBlock(const LogBlock&) = delete;

  /// Whether the bytes occur in the messages, or across two of them.
  bool may_contain(std::string_view bytes) const;
  /// Valid as long as the block.
  std::vector<LogEventView> events() const;

 private:
  std::string raw_;
  std::string_view columns_, messages_;
};

}  // namespace textmill::store
