#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "api/exchange.h"
#include "store/objects.h"

namespace textmill::api::s3 {

/// One of S3's errors, with its status and text; `message` instead of that text.
wire::Fault fault(std::string_view code, Value details = {}, std::string_view message = {});

/// The input's Bucket. Throws NoSuchBucket; AccessDenied when it is not whose the caller expects.
store::Bucket bucket(Exchange& ex, store::Connection& connection);
store::Bucket bucket(Exchange& ex, store::Connection& connection, std::string_view name,
                     std::string_view expected_owner);
/// The object of that key. Throws NoSuchKey.
store::Object object(store::Connection& connection, const store::Bucket& bucket, std::string_view key);

/// The input's Key. Throws KeyTooLongError; NoSuchVersion for any version but "null".
std::string key(Exchange& ex);
void check_version(std::string_view version);
/// Refuses headers that ask for what is not done: customers' encryption keys, object lock, appending.
void refuse_unserved(Exchange& ex);

constexpr size_t kLongestKey = 1024;

/// Whether a list of ETags, each as it is or in quotes, has this one or "*".
bool names_etag(std::string_view list, std::string_view etag);
std::string in_quotes(std::string_view etag);
Value owner(const Platform& platform);
Value parse_properties(std::string_view properties);

/// If-Match and its like, of a reader. True: answer "not modified". Throws PreconditionFailed.
struct Conditions {
  std::string if_match, if_none_match;
  std::optional<base::WallTime> modified_since, unmodified_since;
};
bool not_modified(const Conditions& conditions, const store::Object& object);
/// If-Match and If-None-Match of a writer. Throws NoSuchKey, PreconditionFailed.
void check_write(Exchange& ex, store::Connection& connection, const store::Bucket& bucket,
                 std::string_view key);

/// What an object keeps of the request that made it: its headers and metadata, and tags from x-amz-tagging.
Value properties_of_input(Exchange& ex);
/// Headers and metadata in an output.
void show_properties(const Value& properties, Exchange& ex, Value& output);

struct Range {
  uint64_t offset = 0, length = 0;
};
/// "bytes=0-9" of `size` bytes; nothing for what is to be ignored. Throws InvalidRange.
std::optional<Range> parse_range(std::string_view text, uint64_t size);

/// The sizes of the parts that an object was made of, as its properties hold them: equal neighbours are counted.
Value pack_sizes(const std::vector<uint64_t>& sizes);
std::vector<uint64_t> unpack_sizes(const Value& packed);

/// Tags of x-amz-tagging, or of a TagSet. Throws InvalidTag, BadRequest.
Value tags_of_query(std::string_view query);
Value tags_of_set(const Value::Array& set, size_t most);
Value tag_set(const Value* tags);

}  // namespace textmill::api::s3
