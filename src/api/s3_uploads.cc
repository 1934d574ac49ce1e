#include <fmt/format.h>

#include <algorithm>

#include "api/s3_plan.h"
#include "wire/times.h"
#include "wire/uri.h"

namespace textmill::api {

namespace s3 {

Plan plan_of(store::Upload upload) {
  Value properties = parse_properties(upload.properties);
  const Value* object = properties.find("Object");
  return {std::move(upload), *object, find_algorithm(text_in(properties, "Algorithm")),
          text_in(properties, "Type") == "COMPOSITE"};
}

std::optional<Plan> find_plan(Exchange& ex, store::Connection& c, const store::Bucket& in) {
  auto upload = store::find_upload(c, ex.text("UploadId"));
  if (!upload || upload->bucket != in.id || upload->key != key(ex)) return std::nullopt;
  return plan_of(std::move(*upload));
}

Plan plan(Exchange& ex, store::Connection& c) {
  auto found = find_plan(ex, c, bucket(ex, c));
  if (!found) throw fault("NoSuchUpload", Value::object({{"UploadId", ex.text("UploadId")}}));
  return std::move(*found);
}

}  // namespace s3

using namespace s3;

namespace {

constexpr int64_t kMostParts = 10'000, kPage = 1000;

void show_plan(const Plan& of, const Platform& platform, Value& out) {
  out.set("Initiator", owner(platform));
  out.set("Owner", owner(platform));
  out.set("StorageClass", text_in(of.object, "StorageClass", "STANDARD"));
  if (!of.algorithm) return;
  out.set("ChecksumAlgorithm", of.algorithm->name);
  out.set("ChecksumType", of.composite ? "COMPOSITE" : "FULL_OBJECT");
}

Value list_parts(Exchange& ex) {
  int64_t limit = std::clamp<int64_t>(ex.integer("MaxParts", kPage), 0, kPage),
          after = ex.integer("PartNumberMarker", 0);
  std::vector<store::Part> parts;
  Plan of = ex.read([&](store::Connection& c) {
    Plan found = plan(ex, c);
    parts = store::list_parts(c, found.upload.id, static_cast<int>(std::clamp<int64_t>(after, 0, kMostParts)),
                              static_cast<size_t>(limit) + 1);
    return found;
  });
  bool beyond = parts.size() > static_cast<size_t>(limit), more = beyond && limit > 0;
  if (beyond) parts.pop_back();
  Value::Array shown;
  for (const auto& part : parts) {
    Value item = Value::object({{"PartNumber", part.number},
                                {"LastModified", wire::to_seconds(part.modified)},
                                {"ETag", in_quotes(part.etag)},
                                {"Size", part.size}});
    if (Checksum sum = unpack_checksum(parse_properties(part.properties)); sum.algorithm)
      item.set(sum.algorithm->member, sum.value);
    shown.push_back(std::move(item));
  }
  Value out = Value::object({{"Bucket", ex.text("Bucket")},
                             {"Key", of.upload.key},
                             {"UploadId", of.upload.id},
                             {"PartNumberMarker", after},
                             {"MaxParts", limit},
                             {"IsTruncated", more}});
  if (more && !parts.empty()) out.set("NextPartNumberMarker", parts.back().number);
  out.set("Parts", std::move(shown));
  show_plan(of, ex.platform, out);
  return out;
}

Value list_multipart_uploads(Exchange& ex) {
  auto limit = static_cast<size_t>(std::clamp<int64_t>(ex.integer("MaxUploads", kPage), 0, kPage));
  std::string prefix = ex.text("Prefix"), delimiter = ex.text("Delimiter"), key_marker = ex.text("KeyMarker"),
              id_marker = ex.text("UploadIdMarker");
  bool encode = ex.text("EncodingType") == "url";
  auto shown = [&](const std::string& text) { return encode ? wire::percent_encode(text, true) : text; };
  // Without an id, all uploads of the marker's key are done.
  std::string after_id = id_marker.empty() && !key_marker.empty() ? "~" : id_marker;
  auto uploads = ex.read([&](store::Connection& c) {
    return store::list_uploads(c, bucket(ex, c).id, prefix, key_marker, after_id, SIZE_MAX);
  });
  Value::Array items, prefixes;
  std::string last_prefix, next_key, next_id;
  bool more = false;
  for (auto& upload : uploads) {
    auto cut = delimiter.empty() ? std::string::npos : upload.key.find(delimiter, prefix.size());
    std::string common = cut == std::string::npos ? "" : upload.key.substr(0, cut + delimiter.size());
    if (!common.empty() && (common == last_prefix || (key_marker.starts_with(common)))) continue;
    if (items.size() + prefixes.size() == limit) {
      more = limit > 0;
      break;
    }
    next_key = common.empty() ? upload.key : common;
    next_id = common.empty() ? upload.id : "";
    if (!common.empty()) {
      prefixes.push_back(Value::object({{"Prefix", shown(common)}}));
      last_prefix = common;
      continue;
    }
    Value item = Value::object({{"UploadId", upload.id},
                                {"Key", shown(upload.key)},
                                {"Initiated", wire::to_seconds(upload.created)}});
    show_plan(plan_of(std::move(upload)), ex.platform, item);
    items.push_back(std::move(item));
  }
  Value out = Value::object({{"Bucket", ex.text("Bucket")},
                             {"KeyMarker", shown(key_marker)},
                             {"UploadIdMarker", id_marker},
                             {"MaxUploads", limit},
                             {"IsTruncated", more},
                             {"Prefix", shown(prefix)}});
  if (!delimiter.empty()) out.set("Delimiter", shown(delimiter));
  if (encode) out.set("EncodingType", "url");
  if (more) out.set("NextKeyMarker", shown(next_key)), out.set("NextUploadIdMarker", next_id);
  out.set("Uploads", std::move(items));
  out.set("CommonPrefixes", std::move(prefixes));
  return out;
}

constexpr Operation kOperations[] = {
    {"ListParts", Role::read, list_parts},
    {"ListMultipartUploads", Role::read, list_multipart_uploads},
};

}  // namespace

constexpr Family kS3Uploads{"s3", kOperations};

}  // namespace textmill::api
