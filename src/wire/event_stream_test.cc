#include "wire/event_stream.h"

#include <gtest/gtest.h>

#include "base/checksum.h"
#include "base/error.h"

namespace textmill::wire {
namespace {

std::vector<Event> decode(std::string_view bytes, size_t piece) {
  EventDecoder decoder;
  std::vector<Event> out;
  for (size_t at = 0; at < bytes.size(); at += piece) {
    decoder.feed(bytes.substr(at, piece));
    while (auto event = decoder.next()) out.push_back(std::move(*event));
  }
  EXPECT_TRUE(decoder.at_end());
  return out;
}

TEST(EventStream, TheClientsOwnBytes) {
  auto frame = encode_event({{":message-type", "event"}, {":event-type", "PayloadPart"}}, "hello");
  // As botocore reads it.
  const unsigned char kFrame[] =
      "\x00\x00\x00\x45\x00\x00\x00\x30\xd3\xe8\x38\xfc\x0d:message-type\x07\x00\x05"
      "event\x0b:event-type\x07\x00\x0bPayloadPart"
      "hello\x23\x75\xee\xd4";
  EXPECT_EQ(frame, std::string(reinterpret_cast<const char*>(kFrame), sizeof(kFrame) - 1));
}

TEST(EventStream, RoundTripInPieces) {
  std::string stream;
  for (size_t i = 0; i < 20; ++i)
    stream += encode_event({{":event-type", std::string(i, 'e')}}, std::string(i * 100, 'p'));
  for (size_t piece : {size_t{1}, size_t{7}, size_t{1000}, stream.size()}) {
    auto events = decode(stream, piece);
    ASSERT_EQ(events.size(), 20u);
    EXPECT_EQ(events[3].header(":event-type"), "eee");
    EXPECT_EQ(events[3].payload.size(), 300u);
    EXPECT_EQ(events[3].header("none"), "");
  }
}

TEST(EventStream, EveryKindOfHeader) {
  std::string head(
      "\x01"
      "a\x00\x01"
      "b\x01\x01"
      "c\x02\xff\x01"
      "d\x03\xff\xfe\x01"
      "e\x04\x00\x00\x01\x00\x01"
      "f\x05\x00\x00\x00\x00\x00\x00\x00\x07"
      "\x01"
      "g\x06\x00\x02xy\x01"
      "h\x08\x00\x00\x00\x00\x00\x00\x00\x08\x01"
      "i\x09"
      "0123456789abcdef",
      70);
  auto big = [](uint32_t v) {
    return std::string{static_cast<char>(v >> 24), static_cast<char>(v >> 16), static_cast<char>(v >> 8),
                       static_cast<char>(v)};
  };
  auto sum = [&](const std::string& s) { return big(base::crc32(std::as_bytes(std::span(s)))); };
  std::string frame = big(static_cast<uint32_t>(16 + head.size())) + big(static_cast<uint32_t>(head.size()));
  frame += sum(frame);
  frame += head;
  frame += sum(frame);
  auto events = decode(frame, 1000);
  ASSERT_EQ(events.size(), 1u);
  std::vector<Event::HeaderValue> values;
  for (const auto& [name, value] : events[0].headers) values.push_back(value);
  EXPECT_EQ(values, (std::vector<Event::HeaderValue>{true, false, int64_t{-1}, int64_t{-2}, int64_t{256},
                                                     int64_t{7}, "xy", int64_t{8}, "0123456789abcdef"}));
}

TEST(EventStream, EveryFlippedBitIsSeen) {
  auto frame = encode_event({{"name", "value"}}, "payload");
  for (size_t bit = 0; bit < frame.size() * 8; ++bit) {
    auto bad = frame;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    EventDecoder decoder;
    decoder.feed(bad);
    EXPECT_THROW(decoder.next(), base::Error) << bit;
  }
}

}  // namespace
}  // namespace textmill::wire
