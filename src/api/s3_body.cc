#include "api/s3_body.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "base/base64.h"
#include "wire/chunks.h"
#include "wire/document.h"

namespace textmill::api::s3 {

namespace {

constexpr Algorithm kAlgorithms[] = {
    {"CRC32", "x-amz-checksum-crc32", "ChecksumCRC32", base::HashKind::crc32},
    {"CRC32C", "x-amz-checksum-crc32c", "ChecksumCRC32C", base::HashKind::crc32c},
    {"CRC64NVME", "x-amz-checksum-crc64nvme", "ChecksumCRC64NVME", base::HashKind::crc64nvme},
    {"SHA1", "x-amz-checksum-sha1", "ChecksumSHA1", base::HashKind::sha1},
    {"SHA256", "x-amz-checksum-sha256", "ChecksumSHA256", base::HashKind::sha256},
};
constexpr size_t kPiece = 1 << 20;
constexpr uint64_t kLargestPut = uint64_t{5} << 30;

bool is_chunked(const http::Request& head) {
  return head.headers.get("x-amz-content-sha256").starts_with("STREAMING-");
}

bool takes_bytes(const wire::Call& call) {
  return call.operation->name == "PutObject" || call.operation->name == "UploadPart";
}

void read_file(const http::OpenFile& file, Range range, const std::function<void(std::string_view)>& piece) {
  std::string buffer(std::min<uint64_t>(kPiece, range.length), '\0');
  while (range.length > 0) {
    ssize_t n = ::pread(file.fd(), buffer.data(), std::min<uint64_t>(buffer.size(), range.length),
                        static_cast<off_t>(range.offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw base::system_error("cannot read an object", errno);
    if (n == 0) throw base::Error(base::Kind::internal, "an object's file is shorter than its row says");
    piece({buffer.data(), static_cast<size_t>(n)});
    range.offset += static_cast<uint64_t>(n);
    range.length -= static_cast<uint64_t>(n);
  }
}

void read_body(const http::Body& body, const std::function<void(std::string_view)>& piece) {
  if (auto file = body.file()) return read_file(*file, {0, body.size()}, piece);
  piece(body.text());
}

wire::Fault bad_digest(std::string_view what) {
  return fault("BadDigest", {},
               fmt::format("The {} you specified did not match the calculated checksum.", what));
}

void check_md5(std::string_view claimed, std::string_view md5) {
  if (claimed.empty()) return;
  if (claimed.size() != 24 || !claimed.ends_with("=="))
    throw fault("InvalidDigest", {}, "The Content-MD5 you specified was invalid.");
  if (claimed != base::base64_encode(md5))
    throw fault("BadDigest", {}, "The Content-MD5 you specified did not match what we received.");
}

void check_sum(const Checksum& claimed, std::string_view computed) {
  if (claimed.value.size() != computed.size()) {
    throw fault("InvalidRequest", {},
                fmt::format("Value for {} header is invalid.", claimed.algorithm->header));
  }
  if (claimed.value != computed) throw bad_digest(claimed.algorithm->name);
}

/// The algorithm that will be told at the end of a chunked body, or in a header.
const Algorithm* announced(const http::Request& request, const Checksum& in_headers) {
  if (in_headers.algorithm) return in_headers.algorithm;
  auto trailer = request.headers.find("x-amz-trailer");
  auto sdk = request.headers.find("x-amz-sdk-checksum-algorithm");
  if (!trailer && !sdk) return nullptr;
  for (const Algorithm& algorithm : kAlgorithms) {
    if (trailer && http::same_name(*trailer, algorithm.header)) return &algorithm;
  }
  if (trailer)
    throw fault("InvalidRequest", {}, "The value specified in the x-amz-trailer header is not supported");
  throw fault("InvalidRequest", {},
              "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or "
              "x-amz-trailer headers were found.");
}

uint64_t decoded_length(const http::Request& request) {
  auto text = request.headers.get("x-amz-decoded-content-length");
  if (text.empty() || text.size() > 18 || text.find_first_not_of("0123456789") != text.npos)
    throw fault("MissingContentLength");
  return std::stoull(std::string(text));
}

Received receive_chunks(Exchange& ex, const Algorithm* algorithm, Checksum claimed) {
  wire::ChunkDecoder decoder(ex.verified, decoded_length(ex.request));
  store::Blobs::Writer writer(ex.platform.store.blobs());
  base::Hasher md5(base::HashKind::md5);
  std::optional<base::Hasher> sum;
  if (algorithm) sum.emplace(algorithm->kind);
  std::string data;
  read_body(ex.request.body, [&](std::string_view piece) {
    data.clear();
    decoder.feed(piece, data);
    writer.write(data);
    md5.update(data);
    if (sum) sum->update(data);
  });
  decoder.end();
  Received out{.staged = writer.finish(), .md5 = md5.digest()};
  if (!sum) return out;
  out.checksum = {algorithm, base::base64_encode(sum->digest())};
  if (auto trailer = decoder.trailers().find(algorithm->header)) claimed = {algorithm, std::string(*trailer)};
  if (claimed.algorithm) check_sum(claimed, out.checksum.value);
  if (!claimed.algorithm && ex.request.headers.find("x-amz-trailer")) {
    throw fault("InvalidRequest", {}, fmt::format("The trailer {} is missing.", algorithm->header));
  }
  return out;
}

store::Blobs::Staged stage(Exchange& ex) {
  const http::Body& body = ex.request.body;
  auto& blobs = ex.platform.store.blobs();
  const std::string& hash = body.digest(http::Digest::sha256);
  if (!body.file()) return blobs.stage(std::string(body.text()), hash);
  return blobs.stage(hash, body.size(), [&](const base::Path& path) { body.keep_as(path); });
}

/// Known already if the head told of it.
std::string sum_of(const http::Body& body, const Algorithm& algorithm) {
  if (body.has_digest(algorithm.kind)) return body.digest(algorithm.kind);
  base::Hasher sum(algorithm.kind);
  read_body(body, [&](std::string_view piece) { sum.update(piece); });
  return sum.digest();
}

Received receive_plain(Exchange& ex, const Algorithm* algorithm, const Checksum& claimed) {
  const http::Body& body = ex.request.body;
  Received out{.staged = stage(ex), .md5 = body.digest(http::Digest::md5)};
  if (!algorithm) return out;
  out.checksum = {algorithm, base::base64_encode(sum_of(body, *algorithm))};
  if (claimed.algorithm) check_sum(claimed, out.checksum.value);
  return out;
}

}  // namespace

const Algorithm* find_algorithm(std::string_view name) {
  auto found = std::ranges::find(kAlgorithms, name, &Algorithm::name);
  return found == std::end(kAlgorithms) ? nullptr : found;
}

void show_checksum(const Checksum& checksum, Value& output) {
  if (!checksum.algorithm) return;
  output.set(checksum.algorithm->member, checksum.value);
  output.set("ChecksumType", checksum.value.find('-') == std::string::npos ? "FULL_OBJECT" : "COMPOSITE");
}

Value pack_checksum(const Checksum& checksum) {
  return Value::object({{std::string(checksum.algorithm->name), checksum.value}});
}

Checksum unpack_checksum(const Value& properties) {
  const Value* packed = properties.find("Checksum");
  if (!packed) return {};
  const auto& [name, value] = packed->object()->front();
  return {find_algorithm(name), *value.string()};
}

Checksum checksum_in(const http::Headers& headers) {
  static constexpr std::string_view kPrefix = "x-amz-checksum-", kOthers[] = {"mode", "type", "algorithm"};
  Checksum out;
  for (const http::Headers::Field& field : headers) {
    std::string_view name = field.first;
    if (!http::same_name(name.substr(0, kPrefix.size()), kPrefix)) continue;
    auto same = [&](std::string_view other) { return http::same_name(name.substr(kPrefix.size()), other); };
    if (std::ranges::any_of(kOthers, same)) continue;
    auto found = std::ranges::find_if(kAlgorithms,
                                      [&](const Algorithm& a) { return http::same_name(name, a.header); });
    if (found == std::end(kAlgorithms)) {
      throw fault("InvalidRequest", {},
                  "The algorithm type you specified in x-amz-checksum- header is invalid.");
    }
    if (out.algorithm) {
      throw fault("InvalidRequest", {},
                  "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.");
    }
    out = {found, field.second};
  }
  return out;
}

Checksum checksum_in(const Value& structure) {
  for (const Algorithm& algorithm : kAlgorithms) {
    if (const Value* value = structure.find(algorithm.member)) return {&algorithm, *value->string()};
  }
  return {};
}

Received receive(Exchange& ex, const Algorithm* wanted) {
  const http::Request& request = ex.request;
  if (!request.headers.find("content-length") && !request.headers.find("transfer-encoding"))
    throw fault("MissingContentLength");
  Checksum claimed = checksum_in(request.headers);
  const Algorithm* algorithm = announced(request, claimed);
  if (!algorithm) algorithm = wanted;
  Received out =
      is_chunked(request) ? receive_chunks(ex, algorithm, claimed) : receive_plain(ex, algorithm, claimed);
  check_md5(request.headers.get("content-md5"), out.md5);
  return out;
}

void check_document(Exchange& ex) {
  auto text = ex.request.body.text();
  base::Hasher md5(base::HashKind::md5);
  md5.update(text);
  check_md5(ex.request.headers.get("content-md5"), md5.digest());
  Checksum claimed = checksum_in(ex.request.headers);
  if (!claimed.algorithm) return;
  base::Hasher sum(claimed.algorithm->kind);
  sum.update(text);
  check_sum(claimed, base::base64_encode(sum.digest()));
}

http::BodyRules body_rules(const http::Request& head, const wire::Call& call) {
  using http::Digest;
  if (!takes_bytes(call)) return {.limit = wire::kMaxDocument, .digests = {Digest::sha256}};
  if (is_chunked(head)) return {.limit = kLargestPut + (kLargestPut >> 6)};
  http::BodyRules rules{.limit = kLargestPut, .digests = {Digest::md5, Digest::sha256}};
  for (const Algorithm& algorithm : kAlgorithms) {
    if (algorithm.kind != Digest::sha256 && head.headers.find(algorithm.header))
      rules.digests.push_back(algorithm.kind);
  }
  return rules;
}

std::shared_ptr<const http::OpenFile> open_blob(const base::Path& file) {
  try {
    return std::make_shared<http::OpenFile>(file);
  } catch (const base::Error& error) {  // the object is there, whatever became of its file
    throw base::Error(error.kind() == base::Kind::limit ? base::Kind::unavailable : base::Kind::internal,
                      error.what());
  }
}

void read_content(const Content& content, Range range, const std::function<void(std::string_view)>& piece) {
  if (auto* bytes = std::get_if<std::string>(&content))
    return piece(std::string_view(*bytes).substr(range.offset, range.length));
  read_file(*open_blob(std::get<base::Path>(content)), range, piece);
}

}  // namespace textmill::api::s3
