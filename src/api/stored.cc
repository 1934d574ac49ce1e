#include "api/stored.h"

#include <fmt/format.h>

#include "wire/times.h"

namespace textmill::api {

namespace {

constexpr int64_t kPage = 10;

records::SortBy sort_of(std::string_view word) {
  if (word == "Name") return records::SortBy::name;
  if (word == "LastModifiedTime") return records::SortBy::modified;
  if (word == "Status") return records::SortBy::status;
  return records::SortBy::created;
}

}  // namespace

Value document(const Platform& platform, const Stored& stored, const records::Resource& resource) {
  Value out = resource.body;
  out.set(stored.name, resource.name);
  out.set(stored.arn, platform.resources.arn(stored.kind, resource.name));
  out.set("CreationTime", wire::to_seconds(resource.created));
  return out;
}

Value create(Exchange& ex, const Stored& stored) {
  records::NewResource wanted{
      .name = ex.text(stored.name), .body = Value::object({}), .tags = tags_in(ex.list("Tags"))};
  for (const auto& [name, value] : *ex.input.object())
    if (name != "Tags" && name != stored.name && !value.is_null()) wanted.body.set(name, value);
  ex.write([&](store::Connection& c) {
    if (stored.check) stored.check(ex, c, wanted.body);
    ex.platform.resources.create(c, stored.kind, wanted);
  });
  return Value::object({{std::string(stored.arn), ex.platform.resources.arn(stored.kind, wanted.name)}});
}

Value describe(Exchange& ex, const Stored& stored) {
  auto resource = ex.read(
      [&](store::Connection& c) { return ex.platform.resources.get(c, stored.kind, ex.text(stored.name)); });
  return document(ex.platform, stored, resource);
}

Value list(Exchange& ex, const Stored& stored) {
  records::ListQuery query{
      .sort = sort_of(ex.text("SortBy", "CreationTime")),
      .descending = ex.text("SortOrder", stored.ascending ? "Ascending" : "Descending") == "Descending",
      .name_contains = ex.text("NameContains"),
      .status = ex.text("StatusEquals"),
      .created_from = ex.time("CreationTimeAfter"),
      .created_before = ex.time("CreationTimeBefore"),
      .modified_from = ex.time("LastModifiedTimeAfter"),
      .modified_before = ex.time("LastModifiedTimeBefore"),
      .limit = static_cast<size_t>(ex.integer("MaxResults", kPage)),
      .token = ex.text("NextToken"),
      .scope = ex.call.name,
      .bodies = stored.summarize != nullptr};
  auto page =
      ex.read([&](store::Connection& c) { return ex.platform.resources.list(c, stored.kind, query); });
  Value::Array summaries;
  for (const auto& resource : page.resources) {
    Value summary = document(ex.platform, stored, {.name = resource.name, .created = resource.created});
    if (!stored.status.empty()) {
      summary.set(stored.status, resource.status);
      summary.set("LastModifiedTime", wire::to_seconds(resource.modified));
    }
    if (stored.summarize) stored.summarize(resource, summary);
    summaries.push_back(std::move(summary));
  }
  Value out = Value::object({{std::string(stored.list), std::move(summaries)}});
  if (!page.next.empty()) out.set("NextToken", page.next);
  return out;
}

Value remove(Exchange& ex, const Stored& stored) {
  ex.write([&](store::Connection& c) { ex.platform.resources.remove(c, stored.kind, ex.text(stored.name)); });
  return {};
}

Value caller_of(const Exchange& ex) {
  return Value::object(
      {{"key", ex.caller.key}, {"name", ex.caller.name}, {"role", static_cast<int64_t>(ex.caller.role)}});
}

records::Tags tags_in(const Value::Array& list) {
  records::Tags tags;
  for (const Value& tag : list) {
    std::string key = text_in(tag, "Key");
    if (key.starts_with("aws:"))
      throw base::Error(base::Kind::invalid, "aws: prefixed tag key names are not allowed for external use.");
    if (!tags.emplace(key, text_in(tag, "Value")).second)
      throw base::Error(base::Kind::invalid, fmt::format("Duplicate tag keys found: {}", key));
  }
  return tags;
}

Value tag_list(const records::Tags& tags) {
  Value::Array list;
  for (const auto& [key, value] : tags) list.push_back(Value::object({{"Key", key}, {"Value", value}}));
  return list;
}

}  // namespace textmill::api
