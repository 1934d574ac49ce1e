#pragma once

#include <boost/beast/http/basic_parser.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "http/message.h"

namespace textmill::http::detail {

/// A refusal by the rules of HTTP: the status to answer with before closing.
struct Refusal {
  int status;
  std::string message;
};

/// Reads one message from pieces of any size: first the head, then the body. Beast's state machine with our bounds:
/// it counts a head's bytes and fields itself, because Beast's limit restarts at each field when they drip in.
template <bool isRequest>
class MessageParser : public boost::beast::http::basic_parser<isRequest> {
 public:
  using Base = boost::beast::http::basic_parser<isRequest>;
  using Code = boost::beast::error_code;

  explicit MessageParser(uint32_t max_header);

  /// Takes bytes from `in` and returns how many; the rest is to be shown again, with more behind it if nothing was
  /// taken. Stops behind the head, then behind each piece of body, which is appended to `body`. A wrong message
  /// sets refusal(). Not to be called once done().
  size_t feed(std::string_view in, std::string& body);
  /// The other side will send no more. Ends a body without a length; else sets refusal().
  void end_of_input();
  bool head_done() const { return this->is_header_done(); }
  bool done() const { return this->is_done() || (plain_ && body_left_ == 0); }
  /// Bytes that are still to come of a request's body whose length is known: they need no parsing, and may be read past
  /// the parser, which is told by passed().
  uint64_t body_left() const { return body_left_; }
  /// Bytes of the chunk at hand that are still to come.
  uint64_t chunk_left() const { return chunk_left_; }
  void passed(uint64_t bytes) { body_left_ -= bytes; }
  const std::optional<Refusal>& refusal() const { return refusal_; }

  std::string method, target;  // of a request
  int status = 0;              // of a response
  int version = 11;
  Headers headers;  // trailers are dropped

 private:
  using string_view = boost::beast::string_view;
  using Length = boost::optional<std::uint64_t>;
  void on_request_impl(boost::beast::http::verb, string_view method_text, string_view target_text, int v,
                       Code&) override;
  void on_response_impl(int code, string_view, int v, Code&) override;
  void on_field_impl(boost::beast::http::field, string_view name, string_view value, Code& code) override;
  void on_header_impl(Code&) override;
  void on_body_init_impl(const Length&, Code&) override {}
  size_t on_body_impl(string_view piece, Code&) override;
  void on_chunk_header_impl(std::uint64_t size, string_view, Code&) override { chunk_left_ = size; }
  size_t on_chunk_body_impl(std::uint64_t, string_view piece, Code& code) override;
  void on_finish_impl(Code&) override {}
  void check_request_head();

  const uint32_t max_header_;
  uint64_t header_bytes_ = 0, chunk_left_ = 0, body_left_ = 0;
  bool plain_ = false;  // a body as it is, of known length
  std::string* body_ = nullptr;
  std::optional<Refusal> refusal_;
};

extern template class MessageParser<true>;
extern template class MessageParser<false>;
using RequestParser = MessageParser<true>;
using ResponseParser = MessageParser<false>;

}  // namespace textmill::http::detail
