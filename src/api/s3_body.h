#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "api/exchange.h"
#include "api/s3.h"
#include "base/hash.h"
#include "store/blobs.h"

namespace textmill::api::s3 {

/// A checksum that S3 knows by this name.
struct Algorithm {
  std::string_view name, header, member;  // "CRC32", "x-amz-checksum-crc32", "ChecksumCRC32"
  base::HashKind kind;
};
/// Null for one that we do not compute.
const Algorithm* find_algorithm(std::string_view name);

struct Checksum {
  const Algorithm* algorithm = nullptr;  // null: none
  std::string value;                     // base64; with "-N" when of the parts' sums
};
/// Members of an output: the sum and ChecksumType.
void show_checksum(const Checksum& checksum, Value& output);
/// As properties hold it, under "Checksum".
Value pack_checksum(const Checksum& checksum);
Checksum unpack_checksum(const Value& properties);
/// The sum that headers, or members of a structure, tell; none is fine. Throws InvalidRequest for several.
Checksum checksum_in(const http::Headers& headers);
Checksum checksum_in(const Value& structure);

/// A request's body on its way into an object: without the framing of chunks, and all that the client said of it true.
struct Received {
  store::Blobs::Staged staged;
  std::string md5;  // raw
  Checksum checksum;
};
/// `wanted`: computed even if the client does not say it. Throws BadDigest, InvalidDigest, IncompleteBody ...
Received receive(Exchange& ex, const Algorithm* wanted = nullptr);

/// Content-MD5 and checksum of a request whose body is a document.
void check_document(Exchange& ex);

/// What is to be known of a body while it comes in.
http::BodyRules body_rules(const http::Request& head, const wire::Call& call);

using Content = std::variant<std::string, base::Path>;
std::shared_ptr<const http::OpenFile> open_blob(const base::Path& file);
/// The bytes of a blob, or a part of them, piece by piece.
void read_content(const Content& content, Range range, const std::function<void(std::string_view)>& piece);

}  // namespace textmill::api::s3
