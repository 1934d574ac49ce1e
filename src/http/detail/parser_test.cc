#include "http/detail/parser.h"

#include <gtest/gtest.h>

namespace textmill::http::detail {
namespace {

/// What a parser makes of `text` that comes in pieces of `step` bytes.
template <class Parser>
std::string parse(std::string_view text, size_t step, uint32_t max_header = 1000) {
  Parser parser(max_header);
  std::string body;
  size_t at = 0, shown = 0;
  while (!parser.done() && !parser.refusal()) {
    size_t taken = shown > at ? parser.feed(text.substr(at, shown - at), body) : 0;
    at += taken;
    if (taken > 0) continue;
    if (shown == text.size()) break;
    shown = std::min(text.size(), shown + step);
  }
  if (!parser.done() && !parser.refusal()) parser.end_of_input();
  if (parser.refusal()) return "refused " + std::to_string(parser.refusal()->status);
  std::string out = parser.method + parser.target + std::to_string(parser.status) + "|";
  for (const auto& [name, value] : parser.headers) out += name + "=" + value + "|";
  return out + body + "|" + std::string(text.substr(at));
}

TEST(Parser, SeesTheSameWhateverThePieces) {
  const std::string kRequests[] = {"GET /a?b HTTP/1.1\r\nHost: h\r\nX:  spaced \r\n\r\nNEXT",
                                   "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\nhello worldNEXT",
                                   "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
                                   "Chunked\r\n\r\n5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nT: t\r\n\r\nNEXT",
                                   "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nshort"};
  const std::string kSeen[] = {
      "GET/a?b0|Host=h|X=spaced||NEXT", "POST/0|Host=h|Content-Length=11|hello world|NEXT",
      "POST/0|Host=h|Transfer-Encoding=Chunked|hello world|NEXT", "POST/0|Host=h|Content-Length=5|short|"};
  for (size_t i = 0; i < std::size(kRequests); ++i)
    for (size_t step = 1; step < 60; ++step)
      EXPECT_EQ(parse<RequestParser>(kRequests[i], step), kSeen[i]) << step;
}

TEST(Parser, LetsABodyOfKnownLengthBeReadPastIt) {
  RequestParser parser(1000);
  std::string body;
  std::string_view head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n",
                   rest = "hello worldNEXT";
  EXPECT_EQ(parser.feed(head, body), head.size());
  EXPECT_EQ(parser.body_left(), 11);
  EXPECT_EQ(parser.feed(rest.substr(0, 5), body), 5);
  parser.passed(4);
  EXPECT_FALSE(parser.done());
  EXPECT_EQ(parser.feed(rest.substr(9), body), 2);
  EXPECT_TRUE(parser.done());
  EXPECT_EQ(body, "hellold");
  RequestParser chunks(1000);
  chunks.feed("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", body);
  EXPECT_EQ(chunks.body_left(), 0);
}

TEST(Parser, RefusesAHeadBeyondItsLimitWhateverThePieces) {
  std::string many = "GET / HTTP/1.1\r\nHost: h\r\n";
  for (int i = 0; i < 200; ++i) many += "A: b\r\n";
  std::string fields = "GET / HTTP/1.1\r\nHost: h\r\n";
  for (int i = 0; i < 300; ++i) fields += "A:\r\n";
  std::string trailers = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
  for (int i = 0; i < 400; ++i) trailers += "A: b\r\n";
  for (size_t step = 1; step < 40; ++step) {
    EXPECT_EQ(parse<RequestParser>(many + "\r\n", step), "refused 431") << step;
    EXPECT_EQ(parse<RequestParser>(fields + "\r\n", step, 100'000), "refused 431") << step;
    EXPECT_EQ(parse<RequestParser>(trailers + "\r\n", step), "refused 431") << step;
  }
}

TEST(Parser, ReadsResponses) {
  EXPECT_EQ(parse<ResponseParser>("HTTP/1.1 204 No Content\r\nA: b\r\n\r\nNEXT", 5), "204|A=b||NEXT");
  EXPECT_EQ(parse<ResponseParser>("HTTP/1.0 200 OK\r\n\r\nto the end", 5), "200|to the end|");
  EXPECT_EQ(parse<ResponseParser>("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhal", 5), "refused 400");
  EXPECT_EQ(parse<ResponseParser>("HTTP/1.1 2000 OK\r\n\r\n", 5), "refused 400");
  EXPECT_EQ(parse<ResponseParser>("", 5), "refused 400");
}

}  // namespace
}  // namespace textmill::http::detail
