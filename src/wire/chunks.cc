#include "wire/chunks.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace textmill::wire {
namespace {

constexpr size_t kLongestLine = 8 << 10, kMostTrailers = 32;

Fault malformed(const std::string& what) {
  return {"InvalidRequest", 400, "The body is not aws-chunked: " + what};
}

}  // namespace

ChunkDecoder::ChunkDecoder(const Verified& verified, uint64_t length)
    : verified_(verified), length_(length), previous_(verified.signature) {}

std::optional<std::string> ChunkDecoder::line(std::string_view& in) {
  auto end = in.find('\n');
  line_ += in.substr(0, end);
  if (line_.size() > kLongestLine) throw malformed("a line is too long");
  in.remove_prefix(end == in.npos ? in.size() : end + 1);
  if (end == in.npos) return std::nullopt;
  if (line_.ends_with('\r')) line_.pop_back();
  return std::exchange(line_, {});
}

void ChunkDecoder::feed(std::string_view in, std::string& out) {
  while (!in.empty()) {
    if (state_ == State::done) throw malformed("bytes after its end");
    if (state_ == State::data) {
      auto piece = in.substr(0, static_cast<size_t>(std::min<uint64_t>(left_, in.size())));
      if (sum_) sum_->update(piece);
      out += piece;
      in.remove_prefix(piece.size());
      left_ -= piece.size();
      if (left_ == 0) state_ = State::data_end;
      continue;
    }
    auto text = line(in);
    if (!text) return;
    if (state_ == State::size) {
      begin_chunk(*text);
    } else if (state_ == State::data_end) {
      if (!text->empty()) throw malformed("a chunk is longer than it says");
      end_chunk();
    } else {
      trailer(*text);
    }
  }
}

void ChunkDecoder::begin_chunk(std::string_view head) {
  auto size = head.substr(0, head.find(';'));
  auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), left_, 16);
  if (error != std::errc() || end != size.data() + size.size())
    throw malformed(fmt::format("\"{}\" is not a chunk's size", size));
  if (left_ > length_ - size_)
    throw Fault("IncompleteBody", 400, "The request body holds more than x-amz-decoded-content-length says");
  size_ += left_;
  last_ = left_ == 0;
  if (is_signed()) {
    constexpr std::string_view kField = ";chunk-signature=";
    auto at = head.find(kField);
    if (at == head.npos) throw malformed("a chunk without a signature");
    chunk_signature_ = head.substr(at + kField.size());
    sum_.emplace();
  }
  state_ = last_ ? State::data_end : State::data;
  if (last_ && has_trailer()) end_chunk();
}

void ChunkDecoder::end_chunk() {
  if (is_signed()) {
    verify(fmt::format("AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{}\n{}\n{}", verified_.time, verified_.scope.text(),
                       previous_, kEmptySha256, sum_->hex_digest()),
           chunk_signature_);
    sum_.reset();
  }
  state_ = !last_ ? State::size : has_trailer() ? State::trailer : State::done;
}

void ChunkDecoder::trailer(std::string_view text) {
  if (!text.empty()) {
    auto colon = text.find(':');
    if (colon == text.npos || trailers_.size() == kMostTrailers) {
      throw Fault("MalformedTrailerError", 400,
                  "The request contained trailing data that was not well-formed or did not conform to our "
                  "published schema.");
    }
    std::string name(text.substr(0, colon)), value(text.substr(colon + 1));
    value.erase(0, value.find_first_not_of(' '));
    if (name != "x-amz-trailer-signature") signed_trailer_ += fmt::format("{}:{}\n", name, value);
    trailers_.add(std::move(name), std::move(value));
    return;
  }
  if (is_signed()) {
    verify(fmt::format("AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{}\n{}", verified_.time, verified_.scope.text(),
                       previous_, base::sha256_hex(signed_trailer_)),
           trailers_.get("x-amz-trailer-signature"));
  }
  state_ = State::done;
}

void ChunkDecoder::verify(std::string_view text, std::string_view claimed) {
  std::string expected = signature(verified_.key, text);
  if (!base::equal_in_constant_time(expected, claimed)) {
    throw Fault(
        "SignatureDoesNotMatch", 403,
        "The request signature we calculated does not match the signature you provided. Check your key and "
        "signing method.",
        Value::object({{"StringToSign", std::string(text)}, {"SignatureProvided", std::string(claimed)}}));
  }
  previous_ = std::move(expected);
}

void ChunkDecoder::end() const {
  if (state_ != State::done || size_ != length_) {
    throw Fault("IncompleteBody", 400, "The request body terminated unexpectedly");
  }
}

}  // namespace textmill::wire
