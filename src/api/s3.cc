#include "api/s3.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/hash.h"
#include "base/utf8.h"
#include "wire/uri.h"

namespace textmill::api::s3 {

namespace {

struct Error {
  std::string_view code;
  int status;
  std::string_view text;
};

// "Error responses" of the S3 API reference.
constexpr Error kErrors[] = {
    {"AccessDenied", 403, "Access Denied"},
    {"BadDigest", 400,
     "The Content-MD5 or checksum value that you specified did not match what the server received."},
    {"BadRequest", 400, "Bad Request"},
    {"BucketAlreadyOwnedByYou", 409,
     "Your previous request to create the named bucket succeeded and you already own it."},
    {"BucketNotEmpty", 409, "The bucket you tried to delete is not empty"},
    {"EntityTooSmall", 400, "Your proposed upload is smaller than the minimum allowed size"},
    {"InvalidArgument", 400, "Invalid Argument"},
    {"InvalidBucketName", 400, "The specified bucket is not valid."},
    {"InvalidDigest", 400, "The Content-MD5 or checksum value that you specified is not valid."},
    {"InvalidLocationConstraint", 400, "The specified location-constraint is not valid"},
    {"InvalidPart", 400,
     "One or more of the specified parts could not be found. The part may not have been uploaded, or the "
     "specified entity "
     "tag may not match the part's entity tag."},
    {"InvalidPartOrder", 400,
     "The list of parts was not in ascending order. The parts list must be specified in order by part "
     "number."},
    {"InvalidRange", 416, "The requested range is not satisfiable"},
    {"InvalidRequest", 400, "Invalid Request"},
    {"InvalidTag", 400, "The tag provided was not a valid tag."},
    {"InvalidURI", 400, "Couldn't parse the specified URI."},
    {"KeyTooLongError", 400, "Your key is too long"},
    {"MalformedPolicy", 400, "Policies must be valid JSON and the first byte must be '{'"},
    {"MalformedXML", 400,
     "The XML you provided was not well-formed or did not validate against our published schema"},
    {"MetadataTooLarge", 400, "Your metadata headers exceed the maximum allowed metadata size"},
    {"MissingContentLength", 411, "You must provide the Content-Length HTTP header."},
    {"NoSuchBucket", 404, "The specified bucket does not exist"},
    {"NoSuchBucketPolicy", 404, "The bucket policy does not exist"},
    {"NoSuchCORSConfiguration", 404, "The CORS configuration does not exist"},
    {"NoSuchKey", 404, "The specified key does not exist."},
    {"NoSuchLifecycleConfiguration", 404, "The lifecycle configuration does not exist"},
    {"NoSuchPublicAccessBlockConfiguration", 404, "The public access block configuration was not found"},
    {"NoSuchTagSet", 404, "The TagSet does not exist"},
    {"NoSuchUpload", 404,
     "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted "
     "or completed."},
    {"NoSuchVersion", 404, "The specified version does not exist."},
    {"NotImplemented", 501, "A header you provided implies functionality that is not implemented"},
    {"OwnershipControlsNotFoundError", 404, "The bucket ownership controls were not found"},
    {"PreconditionFailed", 412, "At least one of the pre-conditions you specified did not hold"},
    {"ServerSideEncryptionConfigurationNotFoundError", 404,
     "The server side encryption configuration was not found"},
};

/// Headers that an object keeps, by their members in inputs and outputs.
constexpr std::string_view kKept[] = {"CacheControl",           "ContentDisposition", "ContentEncoding",
                                      "ContentLanguage",        "ContentType",        "StorageClass",
                                      "WebsiteRedirectLocation"};
constexpr size_t kMostMetadata = 2048, kMostObjectTags = 10;

/// Takes the first item off a list in a header.
std::string_view take_item(std::string_view& list) {
  auto item = list.substr(0, list.find(','));
  list.remove_prefix(std::min(list.size(), item.size() + 1));
  while (item.starts_with(' ')) item.remove_prefix(1);
  while (item.ends_with(' ')) item.remove_suffix(1);
  return item;
}

/// A list of encodings without the one of the way here: clients put it before the others, or after them.
std::string without_chunked(std::string_view list) {
  std::string out;
  while (!list.empty())
    if (auto item = take_item(list); !item.empty() && item != "aws-chunked")
      (out += out.empty() ? "" : ",") += item;
  return out;
}

wire::Fault failed(std::string_view condition) {
  return fault("PreconditionFailed", Value::object({{"Condition", std::string(condition)}}));
}

base::WallTime whole_second(base::WallTime time) { return std::chrono::floor<std::chrono::seconds>(time); }

size_t characters(std::string_view utf8) {
  return static_cast<size_t>(std::ranges::count_if(utf8, [](char c) { return (c & 0xc0) != 0x80; }));
}

void check_tag(std::string_view key, std::string_view value) {
  if (key.empty() || characters(key) > 128 || characters(value) > 256 || key.starts_with("aws:") ||
      base::invalid_utf8(key) || base::invalid_utf8(value))
    throw fault("InvalidTag");
}

}  // namespace

wire::Fault fault(std::string_view code, Value details, std::string_view message) {
  auto found = std::ranges::find(kErrors, code, &Error::code);
  TEXTMILL_CHECK(found != std::end(kErrors));
  return {std::string(code), found->status, std::string(message.empty() ? found->text : message),
          std::move(details)};
}

store::Bucket bucket(Exchange& ex, store::Connection& connection) {
  return bucket(ex, connection, ex.text("Bucket"), ex.text("ExpectedBucketOwner"));
}

store::Bucket bucket(Exchange& ex, store::Connection& connection, std::string_view name,
                     std::string_view expected_owner) {
  if (!expected_owner.empty() && expected_owner != ex.platform.account().id) throw fault("AccessDenied");
  auto found = store::find_bucket(connection, name);
  if (!found) throw fault("NoSuchBucket", Value::object({{"BucketName", std::string(name)}}));
  return std::move(*found);
}

store::Object object(store::Connection& connection, const store::Bucket& bucket, std::string_view key) {
  auto found = store::find_object(connection, bucket.id, key);
  if (!found) throw fault("NoSuchKey", Value::object({{"Key", std::string(key)}}));
  return std::move(*found);
}

std::string key(Exchange& ex) {
  std::string key = ex.text("Key");
  if (key.size() > kLongestKey) {
    throw fault("KeyTooLongError", Value::object({{"Size", key.size()}, {"MaxSizeAllowed", kLongestKey}}));
  }
  check_version(ex.text("VersionId"));
  return key;
}

void check_version(std::string_view version) {
  if (!version.empty() && version != "null")
    throw fault("NoSuchVersion", Value::object({{"VersionId", std::string(version)}}));
}

void refuse_unserved(Exchange& ex) {
  for (std::string_view member :
       {"SSECustomerAlgorithm", "SSECustomerKey", "CopySourceSSECustomerAlgorithm", "WriteOffsetBytes"}) {
    if (ex.find(member)) throw fault("NotImplemented", Value::object({{"Header", std::string(member)}}));
  }
  for (std::string_view member :
       {"ObjectLockMode", "ObjectLockRetainUntilDate", "ObjectLockLegalHoldStatus"}) {
    if (ex.find(member)) throw fault("InvalidRequest", {}, "Bucket is missing Object Lock Configuration");
  }
}

bool names_etag(std::string_view list, std::string_view etag) {
  while (!list.empty()) {
    auto item = take_item(list);
    if (item.starts_with("W/")) item.remove_prefix(2);
    if (item.size() >= 2 && item.front() == '"' && item.back() == '"') item = item.substr(1, item.size() - 2);
    if (item == "*" || item == etag) return true;
  }
  return false;
}

std::string in_quotes(std::string_view etag) { return fmt::format("\"{}\"", etag); }

Value owner(const Platform& platform) {
  return Value::object({{"DisplayName", "textmill"}, {"ID", base::sha256_hex(platform.account().id)}});
}

Value parse_properties(std::string_view properties) {
  return format::parse_kept_json(properties, "properties");
}

bool not_modified(const Conditions& conditions, const store::Object& object) {
  base::WallTime modified = whole_second(object.modified);
  if (!conditions.if_match.empty()) {
    if (!names_etag(conditions.if_match, object.etag)) throw failed("If-Match");
  } else if (conditions.unmodified_since && modified > *conditions.unmodified_since) {
    throw failed("If-Unmodified-Since");
  }
  if (!conditions.if_none_match.empty()) return names_etag(conditions.if_none_match, object.etag);
  return conditions.modified_since && modified <= *conditions.modified_since;
}

void check_write(Exchange& ex, store::Connection& connection, const store::Bucket& bucket,
                 std::string_view key) {
  std::string match = ex.text("IfMatch"), none = ex.text("IfNoneMatch");
  if (match.empty() && none.empty()) return;
  if (!none.empty() && none != "*")
    throw fault("NotImplemented", Value::object({{"Header", "If-None-Match"}}));
  auto existing = store::find_object(connection, bucket.id, key);
  if (!none.empty() && existing) throw failed("If-None-Match");
  if (!match.empty() && !existing) throw fault("NoSuchKey", Value::object({{"Key", std::string(key)}}));
  if (!match.empty() && !names_etag(match, existing->etag)) throw failed("If-Match");
}

Value properties_of_input(Exchange& ex) {
  Value out = Value::object({});
  for (std::string_view member : kKept) {
    std::string text = ex.text(member);
    if (member == "ContentEncoding") text = without_chunked(text);
    if (!text.empty() && !(member == "StorageClass" && text == "STANDARD")) out.set(member, std::move(text));
  }
  // As it was sent: it need not be a date.
  if (auto expires = ex.request.headers.find("expires")) out.set("Expires", *expires);
  if (const Value* metadata = ex.find("Metadata")) {
    size_t size = 0;
    for (const auto& [name, value] : *metadata->object()) size += name.size() + value.string()->size();
    if (size > kMostMetadata)
      throw fault("MetadataTooLarge", Value::object({{"Size", size}, {"MaxSizeAllowed", kMostMetadata}}));
    out.set("Metadata", *metadata);
  }
  if (std::string tags = ex.text("Tagging"); !tags.empty()) out.set("Tags", tags_of_query(tags));
  return out;
}

void show_properties(const Value& properties, Exchange& ex, Value& output) {
  output.set("ContentType", "binary/octet-stream");
  for (std::string_view member : kKept) {
    if (const Value* value = properties.find(member)) output.set(member, *value);
  }
  if (const Value* metadata = properties.find("Metadata")) output.set("Metadata", *metadata);
  if (const Value* expires = properties.find("Expires")) ex.headers.set("Expires", *expires->string());
}

std::optional<Range> parse_range(std::string_view text, uint64_t size) {
  if (!text.starts_with("bytes=") || text.find(',') != text.npos) return std::nullopt;
  text.remove_prefix(6);
  auto dash = text.find('-');
  if (dash == text.npos) return std::nullopt;
  auto number = [](std::string_view digits, uint64_t& out) {
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), out);
    return error == std::errc() && end == digits.data() + digits.size();
  };
  uint64_t first = 0, last = size - 1;
  auto from = text.substr(0, dash), to = text.substr(dash + 1);
  if (from.empty()) {
    uint64_t count = 0;
    if (!number(to, count)) return std::nullopt;
    first = count < size ? size - count : 0;
    if (count == 0) first = size;
  } else {
    if (!number(from, first) || (!to.empty() && !number(to, last)) || (!to.empty() && last < first))
      return std::nullopt;
    last = std::min(last, size - 1);
  }
  if (first >= size) {
    throw fault("InvalidRange", Value::object({{"RangeRequested", fmt::format("bytes={}", text)},
                                               {"ActualObjectSize", size}}));
  }
  return Range{first, last - first + 1};
}

Value pack_sizes(const std::vector<uint64_t>& sizes) {
  Value::Array out;
  for (size_t i = 0; i < sizes.size();) {
    size_t end = i;
    while (end < sizes.size() && sizes[end] == sizes[i]) ++end;
    out.push_back(Value::array(std::vector<uint64_t>{sizes[i], end - i}));
    i = end;
  }
  return out;
}

std::vector<uint64_t> unpack_sizes(const Value& packed) {
  std::vector<uint64_t> out;
  for (const Value& run : *packed.array()) {
    const auto& pair = *run.array();
    out.insert(out.end(), static_cast<size_t>(*pair[1].integer()), static_cast<uint64_t>(*pair[0].integer()));
  }
  return out;
}

Value tags_of_query(std::string_view query) {
  Value out = Value::object({});
  for (const auto& [key, value] : wire::parse_query(query)) {
    check_tag(key, value);
    if (out.find(key)) throw fault("InvalidArgument", {}, "The header 'x-amz-tagging' has a key twice");
    out.set(key, value);
  }
  if (out.object()->size() > kMostObjectTags)
    throw fault("BadRequest", {}, "Object tags cannot be greater than 10");
  return out;
}

Value tags_of_set(const Value::Array& set, size_t most) {
  Value out = Value::object({});
  for (const Value& tag : set) {
    std::string key = text_in(tag, "Key");
    check_tag(key, text_in(tag, "Value"));
    if (out.find(key))
      throw fault("InvalidTag", Value::object({{"TagKey", key}}),
                  "Cannot provide multiple Tags with the same key");
    out.set(key, text_in(tag, "Value"));
  }
  if (set.size() > most)
    throw fault("BadRequest", {},
                fmt::format("{} cannot be greater than {}",
                            most == kMostObjectTags ? "Object tags" : "Bucket tag count", most));
  return out;
}

Value tag_set(const Value* tags) {
  Value::Array out;
  if (tags) {
    for (const auto& [key, value] : *tags->object())
      out.push_back(Value::object({{"Key", key}, {"Value", value}}));
  }
  return out;
}

}  // namespace textmill::api::s3
