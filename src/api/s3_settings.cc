// What a bucket can be told and only remembers: clients set these and read them back. Nothing acts on them.

#include "api/s3_body.h"

namespace textmill::api {

using namespace s3;

namespace {

/// A setting by the members of its inputs and outputs.
struct Setting {
  std::string_view name;     // in the bucket's properties, and the member of the Put call
  std::string_view inside;   // the member inside it that the Get call answers; empty: the whole
  std::string_view output;   // the member of the Get call's output; empty: the output itself
  std::string_view missing;  // the error when it is not set; empty: an empty answer
};

constexpr Setting kPolicy{"Policy", "", "Policy", "NoSuchBucketPolicy"},
    kCors{"CORSConfiguration", "CORSRules", "CORSRules", "NoSuchCORSConfiguration"},
    kEncryption{"ServerSideEncryptionConfiguration", "", "ServerSideEncryptionConfiguration",
                "ServerSideEncryptionConfigurationNotFoundError"},
    kPublicAccess{"PublicAccessBlockConfiguration", "", "PublicAccessBlockConfiguration",
                  "NoSuchPublicAccessBlockConfiguration"},
    kOwnership{"OwnershipControls", "", "OwnershipControls", "OwnershipControlsNotFoundError"},
    kLifecycle{"LifecycleConfiguration", "Rules", "Rules", "NoSuchLifecycleConfiguration"},
    kNotification{"NotificationConfiguration", "", "", ""},
    kVersioning{"VersioningConfiguration", "", "", ""};

template <const Setting& S>
Value get(Exchange& ex) {
  auto found = ex.read([&](store::Connection& c) { return bucket(ex, c); });
  Value properties = parse_properties(found.properties);
  const Value* value = properties.find(S.name);
  if (!value && !S.missing.empty()) throw fault(S.missing, Value::object({{"BucketName", found.name}}));
  if (!value) return Value::object({});
  if (!S.inside.empty()) value = value->find(S.inside);
  return S.output.empty() ? *value : Value::object({{std::string(S.output), *value}});
}

void set(Exchange& ex, std::string_view name, const Value& value) {
  ex.write([&](store::Connection& c) {
    auto in = bucket(ex, c);
    Value properties = parse_properties(in.properties);
    std::erase_if(*properties.object(), [&](const auto& member) { return member.name == name; });
    if (!value.is_null()) properties.set(name, value);
    store::set_bucket_properties(c, in.id, format::to_text(properties));
  });
}

template <const Setting& S>
Value put(Exchange& ex) {
  check_document(ex);
  const Value* value = ex.find(S.name);
  if (!value) throw fault("MalformedXML");
  set(ex, S.name, *value);
  return {};
}

template <const Setting& S>
Value remove(Exchange& ex) {
  set(ex, S.name, {});
  return {};
}

bool is_json_object(const std::string& text) {
  try {
    return format::parse_json(text, "policy").object();
  } catch (const base::Error&) { return false; }
}

Value put_policy(Exchange& ex) {
  if (!is_json_object(ex.text("Policy"))) throw fault("MalformedPolicy");
  return put<kPolicy>(ex);
}

/// Objects have one version each: only that can be asked for.
Value put_versioning(Exchange& ex) {
  if (text_in(*ex.find("VersioningConfiguration"), "Status") == "Enabled") {
    throw fault("NotImplemented", {}, "Versioning is not served here: an object has one version.");
  }
  return put<kVersioning>(ex);
}

/// The owner has all rights, and nobody else any.
Value acl(Exchange& ex) {
  Value grantee = owner(ex.platform);
  grantee.set("Type", "CanonicalUser");
  Value grant = Value::object({{"Grantee", std::move(grantee)}, {"Permission", "FULL_CONTROL"}});
  return Value::object(
      {{"Owner", owner(ex.platform)}, {"Grants", Value::array(std::vector<Value>{std::move(grant)})}});
}

Value get_bucket_acl(Exchange& ex) {
  ex.read([&](store::Connection& c) { bucket(ex, c); });
  return acl(ex);
}

Value get_object_acl(Exchange& ex) {
  ex.read([&](store::Connection& c) { object(c, bucket(ex, c), key(ex)); });
  return acl(ex);
}

constexpr Effect kStored = Effect::stored;
constexpr Operation kOperations[] = {
    {"GetBucketPolicy", Role::read, get<kPolicy>, kStored},
    {"PutBucketPolicy", Role::write, put_policy, kStored},
    {"DeleteBucketPolicy", Role::write, remove<kPolicy>, kStored},
    {"GetBucketCors", Role::read, get<kCors>, kStored},
    {"PutBucketCors", Role::write, put<kCors>, kStored},
    {"DeleteBucketCors", Role::write, remove<kCors>, kStored},
    {"GetBucketEncryption", Role::read, get<kEncryption>, kStored},
    {"PutBucketEncryption", Role::write, put<kEncryption>, kStored},
    {"DeleteBucketEncryption", Role::write, remove<kEncryption>, kStored},
    {"GetPublicAccessBlock", Role::read, get<kPublicAccess>, kStored},
    {"PutPublicAccessBlock", Role::write, put<kPublicAccess>, kStored},
    {"DeletePublicAccessBlock", Role::write, remove<kPublicAccess>, kStored},
    {"GetBucketOwnershipControls", Role::read, get<kOwnership>, kStored},
    {"PutBucketOwnershipControls", Role::write, put<kOwnership>, kStored},
    {"DeleteBucketOwnershipControls", Role::write, remove<kOwnership>, kStored},
    {"GetBucketLifecycleConfiguration", Role::read, get<kLifecycle>, kStored},
    {"PutBucketLifecycleConfiguration", Role::write, put<kLifecycle>, kStored},
    {"DeleteBucketLifecycle", Role::write, remove<kLifecycle>, kStored},
    {"GetBucketNotificationConfiguration", Role::read, get<kNotification>, kStored},
    {"PutBucketNotificationConfiguration", Role::write, put<kNotification>, kStored},
    {"GetBucketVersioning", Role::read, get<kVersioning>},
    {"PutBucketVersioning", Role::write, put_versioning},
    {"GetBucketAcl", Role::read, get_bucket_acl},
    {"GetObjectAcl", Role::read, get_object_acl},
};

}  // namespace

constexpr Family kS3Settings{"s3", kOperations};

}  // namespace textmill::api
