#include "api/s3_copy.h"

#include <fmt/format.h>

#include "base/base64.h"
#include "wire/times.h"
#include "wire/uri.h"

namespace textmill::api {

namespace s3 {

Source source_of(Exchange& ex) {
  std::string text = ex.text("CopySource");
  auto version = text.find("?versionId=");
  if (version != text.npos) {
    check_version(text.substr(version + 11));
    text.resize(version);
  }
  std::string path = wire::percent_decode(text, true);
  if (path.starts_with('/')) path.erase(0, 1);
  auto slash = path.find('/');
  if (slash == path.npos || slash + 1 == path.size()) {
    throw fault(
        "InvalidArgument",
        Value::object({{"ArgumentName", "x-amz-copy-source"}, {"ArgumentValue", ex.text("CopySource")}}),
        "Copy Source must mention the source bucket and key: sourcebucket/sourcekey");
  }
  return {path.substr(0, slash), path.substr(slash + 1)};
}

store::Object find_source(Exchange& ex, store::Connection& c, const Source& source) {
  auto from = bucket(ex, c, source.bucket, ex.text("ExpectedSourceBucketOwner"));
  auto found = object(c, from, source.key);
  Conditions conditions{ex.text("CopySourceIfMatch"), ex.text("CopySourceIfNoneMatch"),
                        ex.time("CopySourceIfModifiedSince"), ex.time("CopySourceIfUnmodifiedSince")};
  if (not_modified(conditions, found)) throw fault("PreconditionFailed");
  return found;
}

Received copy_range(Exchange& ex, const Content& content, Range range, const Algorithm* algorithm) {
  store::Blobs::Writer writer(ex.platform.store.blobs());
  base::Hasher md5(base::HashKind::md5);
  std::optional<base::Hasher> sum;
  if (algorithm) sum.emplace(algorithm->kind);
  read_content(content, range, [&](std::string_view piece) {
    writer.write(piece);
    md5.update(piece);
    if (sum) sum->update(piece);
  });
  Received out{.staged = writer.finish(), .md5 = md5.digest()};
  if (sum) out.checksum = {algorithm, base::base64_encode(sum->digest())};
  return out;
}

}  // namespace s3

using namespace s3;

namespace {

struct Sums {
  std::string etag;
  Checksum checksum;
};

/// The sums that the copy is to have: the one asked for, else the source's. What was uploaded in parts is one part now,
/// with sums of all its bytes.
Sums sums_of_copy(Exchange& ex, const store::Object& from, const Content& content) {
  Value properties = parse_properties(from.properties);
  Sums sums{from.etag, unpack_checksum(properties)};
  std::string wanted = ex.text("ChecksumAlgorithm");
  const Algorithm* algorithm = wanted.empty() ? sums.checksum.algorithm : find_algorithm(wanted);
  if (!algorithm && !wanted.empty())
    throw fault("InvalidRequest", {}, "Checksum algorithm provided is unsupported.");
  const bool of_parts = properties.find("Parts");
  std::optional<base::Hasher> etag, sum;
  if (of_parts) etag.emplace(base::HashKind::md5);
  if (algorithm && (of_parts || algorithm != sums.checksum.algorithm)) sum.emplace(algorithm->kind);
  if (!etag && !sum) return sums;
  read_content(content, {0, from.size}, [&](std::string_view piece) {
    if (etag) etag->update(piece);
    if (sum) sum->update(piece);
  });
  if (etag) sums.etag = base::hex(etag->digest());
  if (sum) sums.checksum = {algorithm, base::base64_encode(sum->digest())};
  return sums;
}

/// What the copy keeps of the source, and what the request says instead.
Value properties_of_copy(Exchange& ex, const store::Object& from) {
  Value out = parse_properties(from.properties), mine = properties_of_input(ex);
  auto of_request = [](std::string_view name) {
    return name == "StorageClass" || name == "WebsiteRedirectLocation";
  };
  bool replace = ex.text("MetadataDirective", "COPY") == "REPLACE",
       retag = ex.text("TaggingDirective", "COPY") == "REPLACE";
  std::erase_if(*out.object(), [&](const format::JsonMember& member) {
    bool tags = member.name == "Tags", of_parts = member.name == "Parts" || member.name == "UploadId";
    return tags ? retag : replace || of_parts || member.name == "Checksum" || of_request(member.name);
  });
  for (const auto& [name, value] : *mine.object()) {
    if (name == "Tags" ? retag : replace || of_request(name)) out.set(name, value);
  }
  return out;
}

/// Nothing when the source was replaced meanwhile.
std::optional<Value> try_copy(Exchange& ex) {
  Source source = source_of(ex);
  Content content;
  store::Object from = ex.read([&](store::Connection& c) {
    auto found = find_source(ex, c, source);
    content = ex.platform.store.blobs().content(c, found.blob);
    return found;
  });
  store::Object copy{.key = key(ex), .size = from.size};
  bool changes = ex.text("MetadataDirective") == "REPLACE" || ex.text("TaggingDirective") == "REPLACE" ||
                 ex.find("StorageClass") || ex.find("WebsiteRedirectLocation") ||
                 ex.find("ServerSideEncryption");
  if (source.bucket == ex.text("Bucket") && source.key == copy.key && !changes) {
    throw fault(
        "InvalidRequest", {},
        "This copy request is illegal because it is trying to copy an object to itself without changing the "
        "object's metadata, storage class, website redirect location or encryption attributes.");
  }
  auto [etag, checksum] = sums_of_copy(ex, from, content);
  copy.etag = etag;
  Value properties = properties_of_copy(ex, from);
  if (checksum.algorithm) properties.set("Checksum", pack_checksum(checksum));
  copy.properties = format::to_text(properties);
  bool same = ex.write([&](store::Connection& c) {
    auto into = bucket(ex, c);
    check_write(ex, c, into, copy.key);
    copy.blob = find_source(ex, c, source).blob;
    if (copy.blob != from.blob) return false;
    copy.modified = base::wall_now();
    store::put_object(c, into.id, copy);
    return true;
  });
  if (!same) return std::nullopt;
  Value result =
      Value::object({{"ETag", in_quotes(copy.etag)}, {"LastModified", wire::to_seconds(copy.modified)}});
  show_checksum(checksum, result);
  return Value::object({{"CopyObjectResult", std::move(result)}});
}

Value copy_object(Exchange& ex) {
  constexpr int kTries = 10;
  refuse_unserved(ex);
  for (int i = 0; i < kTries; ++i)
    if (auto copied = try_copy(ex)) return std::move(*copied);
  throw base::Error(base::Kind::unavailable,
                    "The source was replaced again and again while it was being copied");
}

constexpr Operation kOperations[] = {{"CopyObject", Role::write, copy_object}};

}  // namespace

constexpr Family kS3Copy{"s3", kOperations};

}  // namespace textmill::api
