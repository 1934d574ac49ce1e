#include "http/detail/parser.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/error.hpp>

namespace textmill::http::detail {
namespace {

namespace beast = boost::beast;
using beast::http::error;

constexpr size_t kMaxFields = 256;
constexpr size_t kShortestChunk = 5;  // "0\r\n\r\n"

Refusal refusal_of(const beast::error_code& code) {
  if (code == error::header_limit) return {431, "the head of the request is too large"};
  if (code == error::bad_version) return {505, "expected HTTP/1.0 or HTTP/1.1"};
  return {400, "not an HTTP/1.1 message: " + code.message()};
}

/// "http://host/path?query" to "/path?query" (RFC 9112, 3.2.2).
void strip_to_origin(std::string& target) {
  for (std::string_view scheme : {"http://", "https://"}) {
    if (target.size() < scheme.size() || !same_name(target.substr(0, scheme.size()), scheme)) continue;
    auto path = target.find_first_of("/?", scheme.size());
    target.erase(0, path);
    if (!target.starts_with('/')) target.insert(0, "/");
  }
}

}  // namespace

template <bool isRequest>
MessageParser<isRequest>::MessageParser(uint32_t max_header) : max_header_(max_header) {
  this->header_limit(max_header);
  this->body_limit(boost::none);
}

template <bool isRequest>
size_t MessageParser<isRequest>::feed(std::string_view in, std::string& body) {
  if (plain_) {
    in = in.substr(0, body_left_);
    body.append(in);
    passed(in.size());
    return in.size();
  }
  // Beast asserts that a last chunk which was shown once comes back with at least its 5 bytes; no chunk has fewer.
  if (this->is_header_done() && this->chunked() && chunk_left_ == 0 && in.size() < kShortestChunk) return 0;
  body_ = &body;
  Code code;
  size_t taken = this->put(boost::asio::buffer(in), code);
  if (code && code != error::need_more && !refusal_) refusal_ = refusal_of(code);
  return taken;
}

template <bool isRequest>
void MessageParser<isRequest>::end_of_input() {
  Code code;
  if (this->got_some()) this->put_eof(code);
  if (code || !this->got_some()) refusal_ = Refusal{400, "the message ends before its end"};
}

template <bool isRequest>
void MessageParser<isRequest>::on_request_impl(beast::http::verb, string_view method_text,
                                               string_view target_text, int v, Code&) {
  method = std::string(method_text);
  target = std::string(target_text);
  version = v;
  header_bytes_ = method.size() + target.size() + 12;
}

template <bool isRequest>
void MessageParser<isRequest>::on_response_impl(int code, string_view, int v, Code&) {
  status = code;
  version = v;
}

template <bool isRequest>
void MessageParser<isRequest>::on_field_impl(beast::http::field, string_view name, string_view value,
                                             Code& code) {
  header_bytes_ += name.size() + value.size() + 4;
  if (header_bytes_ > max_header_ || headers.size() >= kMaxFields) {
    code = error::header_limit;
  } else if (!this->is_header_done()) {
    headers.add(std::string(name), std::string(value));
  }
}

template <bool isRequest>
void MessageParser<isRequest>::on_header_impl(Code&) {
  // A message whose length two readers could see differently is how requests are smuggled past a proxy.
  auto encoding = headers.find("Transfer-Encoding");
  if (encoding && (!this->chunked() || !same_name(*encoding, "chunked")))
    refusal_ = Refusal{501, "Transfer-Encoding: only chunked is known, not " + std::string(*encoding)};
  else if (encoding && version < 11)
    refusal_ = Refusal{400, "HTTP/1.0 has no Transfer-Encoding"};
  if constexpr (isRequest) {
    check_request_head();
    plain_ = this->content_length().has_value() && !this->chunked();
    body_left_ = this->content_length().value_or(0);
  }
}

template <bool isRequest>
void MessageParser<isRequest>::check_request_head() {
  auto hosts =
      std::ranges::count_if(headers, [](const auto& field) { return same_name(field.first, "Host"); });
  if (hosts > 1 || (hosts == 0 && version >= 11)) refusal_ = Refusal{400, "expected one Host field"};
  strip_to_origin(target);
  if (!target.starts_with('/') && !(target == "*" && method == "OPTIONS"))
    refusal_ = Refusal{400, "the target must begin with /"};
}

template <bool isRequest>
size_t MessageParser<isRequest>::on_body_impl(string_view piece, Code&) {
  body_->append(piece.data(), piece.size());
  return piece.size();
}

template <bool isRequest>
size_t MessageParser<isRequest>::on_chunk_body_impl(std::uint64_t, string_view piece, Code& code) {
  chunk_left_ -= piece.size();
  return on_body_impl(piece, code);
}

template class MessageParser<true>;
template class MessageParser<false>;

}  // namespace textmill::http::detail
