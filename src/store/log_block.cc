#include "store/log_block.h"

#include <fmt/format.h>
#include <string.h>
#include <zstd.h>

#include <memory>

#include "base/error.h"

namespace textmill::store {

namespace {

constexpr char kVersion = 1;
enum Codec : char { kPlain = 0, kZstd = 1 };
constexpr size_t kWorthPacking = 200, kLargest = 64 << 20;

void append_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

// Small differences of either sign become small numbers.
void append_signed(std::string& out, int64_t value) {
  append_varint(out, (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63));
}

base::Error damaged(std::string_view what) {
  return {base::Kind::internal, fmt::format("a block of log events is damaged: {}", what)};
}

class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) throw damaged("it ends early");
      auto byte = static_cast<uint8_t>(rest_.front());
      rest_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw damaged("a number is too long");
  }
  int64_t signed_varint() {
    uint64_t value = varint();
    return static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1);
  }
  std::string_view take(size_t size) {
    if (size > rest_.size()) throw damaged("it ends early");
    auto taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

void append_column(std::string& out, std::span<const LogEvent> events, int64_t LogEvent::*member) {
  int64_t before = 0;
  for (const LogEvent& event : events) {
    append_signed(out, event.*member - before);
    before = event.*member;
  }
}

void read_column(Reader& reader, std::vector<LogEventView>& events, int64_t LogEventView::*member) {
  int64_t value = 0;
  for (LogEventView& event : events) event.*member = value += reader.signed_varint();
}

// zstd's contexts are large: one per thread.
ZSTD_CCtx* packer() {
  thread_local std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(), ZSTD_freeCCtx);
  return context.get();
}
ZSTD_DCtx* unpacker() {
  thread_local std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  return context.get();
}

std::string unpack(std::string_view packed, size_t size) {
  if (size > kLargest) throw damaged("it claims to be too large");
  std::string raw(size, '\0');
  size_t got = ZSTD_decompressDCtx(unpacker(), raw.data(), size, packed.data(), packed.size());
  if (ZSTD_isError(got) || got != size) throw damaged("it does not unpack");
  return raw;
}

}  // namespace

std::string encode_log_block(std::span<const LogEvent> events) {
  std::string columns, raw;
  append_varint(columns, events.size());
  append_column(columns, events, &LogEvent::time);
  append_column(columns, events, &LogEvent::ingested);
  append_column(columns, events, &LogEvent::sequence);
  for (const LogEvent& event : events) append_varint(columns, event.message.size());
  append_varint(raw, columns.size());
  raw += columns;
  for (const LogEvent& event : events) raw += event.message;
  if (raw.size() < kWorthPacking) return std::string{kVersion, kPlain} + raw;
  std::string out{kVersion, kZstd};
  append_varint(out, raw.size());
  size_t head = out.size();
  out.resize(head + ZSTD_compressBound(raw.size()));
  size_t size = ZSTD_compressCCtx(packer(), out.data() + head, out.size() - head, raw.data(), raw.size(), 1);
  TEXTMILL_CHECK(!ZSTD_isError(size));
  out.resize(head + size);
  return out;
}

LogBlock::LogBlock(std::string_view encoded) {
  Reader reader(encoded);
  std::string_view head = reader.take(2);
  if (head[0] != kVersion) throw damaged(fmt::format("version {} is not known", static_cast<int>(head[0])));
  if (head[1] == kZstd) {
    size_t size = reader.varint();
    raw_ = unpack(reader.rest(), size);
  } else {
    raw_ = reader.rest();
  }
  Reader raw(raw_);
  columns_ = raw.take(raw.varint());
  messages_ = raw.rest();
}

bool LogBlock::may_contain(std::string_view bytes) const {
  return ::memmem(messages_.data(), messages_.size(), bytes.data(), bytes.size()) != nullptr;
}

std::vector<LogEventView> LogBlock::events() const {
  Reader reader(columns_), messages(messages_);
  size_t count = reader.varint();
  if (count > columns_.size()) throw damaged("it claims too many events");
  std::vector<LogEventView> events(count);
  read_column(reader, events, &LogEventView::time);
  read_column(reader, events, &LogEventView::ingested);
  read_column(reader, events, &LogEventView::sequence);
  for (LogEventView& event : events) event.message = messages.take(reader.varint());
  return events;
}

}  // namespace textmill::store
