#include <fmt/format.h>

#include "api/s3_body.h"
#include "wire/times.h"
#include "wire/uri.h"

namespace textmill::api {

using namespace s3;

namespace {

constexpr int64_t kMost = 1000;

/// One page of a bucket, in the forms that the three listings have.
struct Page {
  Exchange& ex;
  store::ListQuery query;
  bool encode;
  store::Listing listing;

  /// `after`: the key or common prefix that the last page ended with.
  Page(Exchange& exchange, std::string after) : ex(exchange), encode(ex.text("EncodingType") == "url") {
    int64_t most = ex.integer("MaxKeys", kMost);
    if (most < 0)
      throw fault("InvalidArgument", Value::object({{"ArgumentName", "max-keys"}, {"ArgumentValue", most}}),
                  "Argument max-keys must be an integer between 0 and 2147483647");
    query = {ex.text("Prefix"), ex.text("Delimiter"), std::move(after),
             static_cast<size_t>(std::min(most, kMost))};
    ex.read([&](store::Connection& c) {
      auto in = bucket(ex, c);
      if (query.limit > 0) listing = store::list_objects(c, in.id, query);
    });
  }

  std::string shown(std::string_view text) const {
    return encode ? wire::percent_encode(text, true) : std::string(text);
  }

  Value entry(const store::Object& object, bool with_owner) const {
    // Most objects have no class of their own: their properties need not be parsed.
    bool own_class = object.properties.find("\"StorageClass\"") != std::string::npos;
    Value::Object out;
    out.reserve(7);
    out.push_back({"Key", shown(object.key)});
    out.push_back({"LastModified", wire::to_seconds(object.modified)});
    out.push_back({"ETag", in_quotes(object.etag)});
    out.push_back({"Size", object.size});
    out.push_back({"StorageClass",
                   own_class ? text_in(parse_properties(object.properties), "StorageClass") : "STANDARD"});
    if (with_owner) out.push_back({"Owner", owner(ex.platform)});
    return out;
  }

  /// What all three have; `list`: the name of the objects' member.
  Value head(std::string_view list, bool with_owner) const {
    Value::Array entries, prefixes;
    for (const auto& object : listing.objects) entries.push_back(entry(object, with_owner));
    for (const auto& prefix : listing.prefixes)
      prefixes.push_back(Value::object({{"Prefix", shown(prefix)}}));
    Value out = Value::object({{"Name", ex.text("Bucket")},
                               {"Prefix", shown(query.prefix)},
                               {"MaxKeys", query.limit},
                               {"IsTruncated", listing.truncated}});
    if (!query.delimiter.empty()) out.set("Delimiter", shown(query.delimiter));
    if (encode) out.set("EncodingType", "url");
    out.set(list, std::move(entries));
    out.set("CommonPrefixes", std::move(prefixes));
    return out;
  }
};

Value list_objects(Exchange& ex) {
  Page page(ex, ex.text("Marker"));
  Value out = page.head("Contents", true);
  out.set("Marker", page.shown(page.query.after));
  if (page.listing.truncated) out.set("NextMarker", page.shown(page.listing.last));
  return out;
}

Value list_objects_v2(Exchange& ex) {
  std::string token = ex.text("ContinuationToken"), scope = "s3:" + ex.text("Bucket");
  std::string after = ex.text("StartAfter");
  if (ex.find("ContinuationToken")) {
    auto opened = ex.platform.tokens.open_if_ours(scope, token);
    if (!opened) throw fault("InvalidArgument", {}, "The continuation token provided is incorrect");
    after = std::move(*opened);
  }
  Page page(ex, std::move(after));
  Value out = page.head("Contents", ex.boolean("FetchOwner"));
  out.set("KeyCount", page.listing.objects.size() + page.listing.prefixes.size());
  if (!token.empty()) out.set("ContinuationToken", token);
  if (const Value* start = ex.find("StartAfter")) out.set("StartAfter", page.shown(*start->string()));
  if (page.listing.truncated)
    out.set("NextContinuationToken", ex.platform.tokens.seal(scope, page.listing.last));
  return out;
}

/// Buckets are never versioned here: each object is its own only version.
Value list_object_versions(Exchange& ex) {
  Page page(ex, ex.text("KeyMarker"));
  Value out = page.head("Versions", true);
  for (auto& [name, value] : *out.object()) {
    if (name != "Versions") continue;
    for (Value& version : *value.array()) {
      version.set("VersionId", "null");
      version.set("IsLatest", true);
    }
  }
  out.set("KeyMarker", page.shown(page.query.after));
  out.set("VersionIdMarker", ex.text("VersionIdMarker"));
  if (page.listing.truncated) {
    out.set("NextKeyMarker", page.shown(page.listing.last));
    out.set("NextVersionIdMarker", "null");
  }
  return out;
}

constexpr Operation kOperations[] = {
    {"ListObjects", Role::read, list_objects},
    {"ListObjectsV2", Role::read, list_objects_v2},
    {"ListObjectVersions", Role::read, list_object_versions},
};

}  // namespace

constexpr Family kS3Listing{"s3", kOperations};

}  // namespace textmill::api
