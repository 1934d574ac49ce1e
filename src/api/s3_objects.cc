#include <fmt/format.h>

#include <algorithm>

#include "api/s3_body.h"
#include "wire/times.h"

namespace textmill::api {

using namespace s3;

namespace {

Value put_object(Exchange& ex) {
  refuse_unserved(ex);
  store::Object object{.key = key(ex)};
  Value properties = properties_of_input(ex);
  Received body = receive(ex);
  if (body.checksum.algorithm) properties.set("Checksum", pack_checksum(body.checksum));
  object.size = body.staged.size();
  object.etag = base::hex(body.md5);
  object.properties = format::to_text(properties);
  ex.write([&](store::Connection& c) {
    auto into = bucket(ex, c);
    check_write(ex, c, into, object.key);
    object.modified = base::wall_now();
    object.blob = ex.platform.store.blobs().enter(c, body.staged);
    store::put_object(c, into.id, object);
  });
  Value out = Value::object({{"ETag", in_quotes(object.etag)}});
  show_checksum(body.checksum, out);
  return out;
}

store::Object look_up(Exchange& ex) {
  return ex.read([&](store::Connection& c) { return object(c, bucket(ex, c), key(ex)); });
}

/// The part of the object that was asked for, by bytes or by the number of an uploaded part; nothing: all of it.
std::optional<Range> range_asked_for(Exchange& ex, const store::Object& object, const Value& properties,
                                     Value& out) {
  const Value* number = ex.find("PartNumber");
  if (!number) return parse_range(ex.text("Range"), object.size);
  if (ex.find("Range"))
    throw fault("InvalidRequest", {}, "Cannot specify both Range header and partNumber query parameter");
  const Value* packed = properties.find("Parts");
  auto sizes = packed ? unpack_sizes(*packed) : std::vector<uint64_t>{object.size};
  auto wanted = static_cast<size_t>(*number->integer());
  if (wanted < 1 || wanted > sizes.size())
    throw fault("InvalidRange", {}, "The requested partnumber is not satisfiable");
  if (packed) out.set("PartsCount", sizes.size());
  Range range{.length = sizes[wanted - 1]};
  for (size_t i = 0; i + 1 < wanted; ++i) range.offset += sizes[i];
  return object.size == 0 ? std::nullopt : std::optional(range);
}

void override_headers(Exchange& ex, Value& out) {
  for (std::string_view member :
       {"CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType"}) {
    std::string text = ex.text(fmt::format("Response{}", member));
    if (std::ranges::any_of(text, [](unsigned char c) { return c < ' ' || c == 0x7f; }))
      throw fault("InvalidArgument", {}, "Header value cannot be represented using ISO-8859-1.");
    if (!text.empty()) out.set(member, text);
  }
  if (const Value* expires = ex.find("ResponseExpires")) {
    ex.headers.set("Expires", wire::http_date(wire::from_seconds(*expires->real())));
  }
}

/// The answer to GET, or to HEAD when there is no content.
Value show(Exchange& ex, const store::Object& object, const Content* content) {
  Value out = Value::object({{"ETag", in_quotes(object.etag)},
                             {"LastModified", wire::to_seconds(object.modified)},
                             {"AcceptRanges", "bytes"}});
  ex.payload = std::string();
  Conditions conditions{ex.text("IfMatch"), ex.text("IfNoneMatch"), ex.time("IfModifiedSince"),
                        ex.time("IfUnmodifiedSince")};
  if (not_modified(conditions, object)) {
    ex.status = 304;
    return out;
  }
  Value properties = parse_properties(object.properties);
  show_properties(properties, ex, out);
  override_headers(ex, out);
  if (const Value* tags = properties.find("Tags"); tags && content)
    out.set("TagCount", tags->object()->size());
  auto asked = range_asked_for(ex, object, properties, out);
  Range range = asked.value_or(Range{0, object.size});
  if (asked) {
    ex.status = 206;
    out.set("ContentRange",
            fmt::format("bytes {}-{}/{}", range.offset, range.offset + range.length - 1, object.size));
  }
  if (ex.find("ChecksumMode") && range.length == object.size) show_checksum(unpack_checksum(properties), out);
  ex.headers.set("Content-Length", std::to_string(range.length));
  if (!content) return out;
  if (auto* bytes = std::get_if<std::string>(content)) {
    ex.payload = bytes->substr(range.offset, range.length);
  } else {
    ex.payload = http::FileRange{open_blob(std::get<base::Path>(*content)), range.offset, range.length};
  }
  return out;
}

Value get_object(Exchange& ex) {
  refuse_unserved(ex);
  Content content;
  auto found = ex.read([&](store::Connection& c) {
    auto found = object(c, bucket(ex, c), key(ex));
    content = ex.platform.store.blobs().content(c, found.blob);
    return found;
  });
  return show(ex, found, &content);
}

Value head_object(Exchange& ex) {
  refuse_unserved(ex);
  return show(ex, look_up(ex), nullptr);
}

void check_delete(Exchange& ex, store::Connection& c, const store::Bucket& from, std::string_view key) {
  if (ex.text("IfMatch").empty()) return;
  not_modified({.if_match = ex.text("IfMatch")}, object(c, from, key));
}

Value delete_object(Exchange& ex) {
  std::string name = key(ex);
  ex.write([&](store::Connection& c) {
    auto from = bucket(ex, c);
    check_delete(ex, c, from, name);
    store::delete_object(c, from.id, name);
  });
  return {};
}

/// The code of the error that an entry of DeleteObjects ends with; empty: it can be deleted.
std::string_view refusal(store::Connection& c, const store::Bucket& from, const Value& wanted) {
  std::string name = text_in(wanted, "Key"), version = text_in(wanted, "VersionId"),
              etag = text_in(wanted, "ETag");
  const Value *modified = wanted.find("LastModifiedTime"), *size = wanted.find("Size");
  if (!version.empty() && version != "null") return "NoSuchVersion";
  if (name.size() > kLongestKey) return "KeyTooLongError";
  if (etag.empty() && !modified && !size) return {};
  auto found = store::find_object(c, from.id, name);
  if (!found) return "NoSuchKey";
  bool same = (etag.empty() || names_etag(etag, found->etag)) &&
              (!modified || wire::from_seconds(*modified->real()) ==
                                std::chrono::floor<std::chrono::seconds>(found->modified)) &&
              (!size || static_cast<uint64_t>(*size->integer()) == found->size);
  return same ? "" : "PreconditionFailed";
}

Value delete_objects(Exchange& ex) {
  constexpr size_t kMost = 1000;
  check_document(ex);
  const Value& request = *ex.find("Delete");
  const auto& objects = *request.find("Objects")->array();
  if (objects.size() > kMost) throw fault("MalformedXML");
  const Value* quiet = request.find("Quiet");
  Value::Array deleted, errors;
  ex.write([&](store::Connection& c) {
    deleted.clear();
    errors.clear();
    auto from = bucket(ex, c);
    for (const Value& wanted : objects) {
      std::string name = text_in(wanted, "Key"), version = text_in(wanted, "VersionId");
      Value entry = Value::object({{"Key", name}});
      if (!version.empty()) entry.set("VersionId", version);
      auto code = refusal(c, from, wanted);
      if (code.empty()) {
        store::delete_object(c, from.id, name);
      } else {
        entry.set("Code", code);
        entry.set("Message", fault(code).what());
      }
      (code.empty() ? deleted : errors).push_back(std::move(entry));
    }
  });
  Value out = Value::object({{"Errors", std::move(errors)}});
  if (!quiet || !*quiet->boolean()) out.set("Deleted", std::move(deleted));
  return out;
}

Value get_object_attributes(Exchange& ex) {
  auto object = look_up(ex);
  Value properties = parse_properties(object.properties);
  auto wants = [&](std::string_view name) {
    return std::ranges::any_of(ex.list("ObjectAttributes"),
                               [&](const Value& value) { return *value.string() == name; });
  };
  Value out = Value::object({{"LastModified", wire::to_seconds(object.modified)}});
  if (wants("ETag")) out.set("ETag", object.etag);
  if (wants("ObjectSize")) out.set("ObjectSize", object.size);
  if (wants("StorageClass")) out.set("StorageClass", text_in(properties, "StorageClass", "STANDARD"));
  if (Checksum sum = unpack_checksum(properties); sum.algorithm && wants("Checksum")) {
    Value shown = Value::object({});
    show_checksum(sum, shown);
    out.set("Checksum", std::move(shown));
  }
  if (const Value* parts = properties.find("Parts"); parts && wants("ObjectParts")) {
    out.set("ObjectParts", Value::object({{"TotalPartsCount", unpack_sizes(*parts).size()}}));
  }
  return out;
}

Value get_object_tagging(Exchange& ex) {
  Value properties = parse_properties(look_up(ex).properties);
  return Value::object({{"TagSet", tag_set(properties.find("Tags"))}});
}

Value set_tags(Exchange& ex, const Value& tags) {
  std::string name = key(ex);
  ex.write([&](store::Connection& c) {
    auto in = bucket(ex, c);
    Value properties = parse_properties(object(c, in, name).properties);
    properties.set("Tags", tags);
    store::set_object_properties(c, in.id, name, format::to_text(properties));
  });
  return {};
}

Value put_object_tagging(Exchange& ex) {
  check_document(ex);
  return set_tags(ex, tags_of_set(*ex.find("Tagging")->find("TagSet")->array(), 10));
}

Value delete_object_tagging(Exchange& ex) { return set_tags(ex, Value::object({})); }

constexpr Operation kOperations[] = {
    {"PutObject", Role::write, put_object},
    {"GetObject", Role::read, get_object},
    {"HeadObject", Role::read, head_object},
    {"DeleteObject", Role::write, delete_object},
    {"DeleteObjects", Role::write, delete_objects},
    {"GetObjectAttributes", Role::read, get_object_attributes},
    {"GetObjectTagging", Role::read, get_object_tagging},
    {"PutObjectTagging", Role::write, put_object_tagging},
    {"DeleteObjectTagging", Role::write, delete_object_tagging},
};

}  // namespace

constexpr Family kS3Objects{"s3", kOperations, body_rules};

}  // namespace textmill::api
