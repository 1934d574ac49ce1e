#include <fmt/format.h>

#include <algorithm>

#include "api/s3_body.h"
#include "wire/times.h"

namespace textmill::api {

using namespace s3;

namespace {

/// "Bucket naming rules" of the S3 guide.
bool is_bucket_name(std::string_view name) {
  auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  if (name.size() < 3 || name.size() > 63 || !plain(name.front()) || !plain(name.back())) return false;
  if (!std::ranges::all_of(name, [&](char c) { return plain(c) || c == '-' || c == '.'; })) return false;
  if (name.find("..") != name.npos || name.starts_with("xn--") || name.ends_with("-s3alias")) return false;
  bool address = std::ranges::count(name, '.') == 3 && name.find_first_not_of("0123456789.") == name.npos;
  return !address;
}

/// Whatever its name is: "eu-west-1", and "EU" of old.
bool is_region(std::string_view name) {
  return name.size() <= 32 && std::ranges::all_of(name, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
         });
}

std::string region_of(const Platform& platform, const store::Bucket& bucket) {
  return text_in(parse_properties(bucket.properties), "Region", platform.account().region);
}

Value create_bucket(Exchange& ex) {
  std::string name = ex.text("Bucket");
  if (!is_bucket_name(name)) throw fault("InvalidBucketName", Value::object({{"BucketName", name}}));
  if (ex.boolean("ObjectLockEnabledForBucket"))
    throw fault("NotImplemented", Value::object({{"Header", "x-amz-bucket-object-lock-enabled"}}));
  Value properties = Value::object({});
  if (const Value* configuration = ex.find("CreateBucketConfiguration")) {
    if (std::string region = text_in(*configuration, "LocationConstraint"); !region.empty()) {
      if (!is_region(region)) throw fault("InvalidLocationConstraint");
      properties.set("Region", region);
    }
    if (const Value* tags = configuration->find("Tags"))
      properties.set("Tags", tags_of_set(*tags->array(), 50));
  }
  ex.write([&](store::Connection& c) {
    if (!store::find_bucket(c, name)) {
      store::create_bucket(c, name, format::to_text(properties));
    } else if (ex.platform.account().region != "us-east-1") {  // there, and only there, it is no error
      throw fault("BucketAlreadyOwnedByYou", Value::object({{"BucketName", name}}));
    }
  });
  return Value::object({{"Location", "/" + name}});
}

Value head_bucket(Exchange& ex) {
  auto found = ex.read([&](store::Connection& c) { return bucket(ex, c); });
  return Value::object({{"BucketRegion", region_of(ex.platform, found)}});
}

Value delete_bucket(Exchange& ex) {
  ex.write([&](store::Connection& c) {
    auto doomed = bucket(ex, c);
    if (!store::list_objects(c, doomed.id, {.limit = 1}).objects.empty()) {
      throw fault("BucketNotEmpty", Value::object({{"BucketName", doomed.name}}));
    }
    store::delete_bucket(c, doomed.id);
  });
  return {};
}

/// The region as the root's text; none for us-east-1.
Value get_bucket_location(Exchange& ex) {
  auto found = ex.read([&](store::Connection& c) { return bucket(ex, c); });
  std::string region = region_of(ex.platform, found);
  ex.headers.set("Content-Type", "application/xml");
  ex.payload = fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<LocationConstraint xmlns=\"{}\">{}</LocationConstraint>",
      ex.call.service->xml_namespace.view(), region == "us-east-1" ? "" : region);
  return Value::object({});
}

Value list_buckets(Exchange& ex) {
  std::string scope = "s3:buckets", after, prefix = ex.text("Prefix");
  if (const Value* token = ex.find("ContinuationToken")) {
    auto opened = ex.platform.tokens.open_if_ours(scope, *token->string());
    if (!opened) throw fault("InvalidArgument", {}, "The continuation token provided is incorrect");
    after = std::move(*opened);
  }
  auto limit = static_cast<size_t>(std::clamp<int64_t>(ex.integer("MaxBuckets", 10'000), 1, 10'000));
  Value out = Value::object({{"Owner", owner(ex.platform)}});
  if (!prefix.empty()) out.set("Prefix", prefix);
  Value::Array shown;
  for (const auto& found : ex.read([](store::Connection& c) { return store::list_buckets(c); })) {
    if (found.name <= after || !found.name.starts_with(prefix)) continue;
    if (shown.size() == limit) {
      out.set("ContinuationToken", ex.platform.tokens.seal(scope, *shown.back().find("Name")->string()));
      break;
    }
    shown.push_back(Value::object({{"Name", found.name},
                                   {"CreationDate", wire::to_seconds(found.created)},
                                   {"BucketRegion", region_of(ex.platform, found)}}));
  }
  out.set("Buckets", std::move(shown));
  return out;
}

Value get_bucket_tagging(Exchange& ex) {
  auto found = ex.read([&](store::Connection& c) { return bucket(ex, c); });
  Value properties = parse_properties(found.properties);
  const Value* tags = properties.find("Tags");
  if (!tags || tags->object()->empty())
    throw fault("NoSuchTagSet", Value::object({{"BucketName", found.name}}));
  return Value::object({{"TagSet", tag_set(tags)}});
}

Value set_tags(Exchange& ex, const Value& tags) {
  ex.write([&](store::Connection& c) {
    auto in = bucket(ex, c);
    Value properties = parse_properties(in.properties);
    properties.set("Tags", tags);
    store::set_bucket_properties(c, in.id, format::to_text(properties));
  });
  return {};
}

Value put_bucket_tagging(Exchange& ex) {
  check_document(ex);
  return set_tags(ex, tags_of_set(*ex.find("Tagging")->find("TagSet")->array(), 50));
}

Value delete_bucket_tagging(Exchange& ex) { return set_tags(ex, Value::object({})); }

constexpr Operation kOperations[] = {
    {"CreateBucket", Role::write, create_bucket},
    {"HeadBucket", Role::read, head_bucket},
    {"DeleteBucket", Role::write, delete_bucket},
    {"GetBucketLocation", Role::read, get_bucket_location},
    {"ListBuckets", Role::read, list_buckets},
    {"GetBucketTagging", Role::read, get_bucket_tagging},
    {"PutBucketTagging", Role::write, put_bucket_tagging},
    {"DeleteBucketTagging", Role::write, delete_bucket_tagging},
};

}  // namespace

constexpr Family kS3Buckets{"s3", kOperations};

}  // namespace textmill::api
