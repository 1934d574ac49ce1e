#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/hash.h"
#include "http/message.h"
#include "wire/authenticate.h"

namespace textmill::wire {

/// Takes the aws-chunked framing off a body, piece by piece, and verifies the signature of each chunk and of the
/// trailer where there are some ("Signature calculations for the authorization header: transferring payload in
/// multiple chunks" of the S3 guide).
class ChunkDecoder {
 public:
  /// `length`: x-amz-decoded-content-length.
  ChunkDecoder(const Verified& verified, uint64_t length);

  /// Appends the data in `in` to `out`. Throws Fault: no such framing, more data than announced, a wrong signature.
  void feed(std::string_view in, std::string& out);
  /// The body is over. Throws Fault if it should not be.
  void end() const;
  const http::Headers& trailers() const { return trailers_; }

 private:
  enum class State { size, data, data_end, trailer, done };
  std::optional<std::string> line(std::string_view& in);
  void begin_chunk(std::string_view head);
  void end_chunk();
  void trailer(std::string_view text);
  void verify(std::string_view text, std::string_view claimed);
  bool is_signed() const { return verified_.payload != Payload::unsigned_chunks_trailer; }
  bool has_trailer() const { return verified_.payload != Payload::signed_chunks; }

  const Verified verified_;
  const uint64_t length_;
  State state_ = State::size;
  std::string line_, previous_, chunk_signature_, signed_trailer_;
  uint64_t left_ = 0, size_ = 0;  // of this chunk; so far
  bool last_ = false;
  std::optional<base::Sha256> sum_;
  http::Headers trailers_;
};

}  // namespace textmill::wire
