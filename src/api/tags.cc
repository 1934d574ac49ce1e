#include <fmt/format.h>

#include "api/stored.h"
#include "records/search.h"

namespace textmill::api {

namespace {

/// The resource that ResourceArn names; throws as its describe call does.
std::pair<const records::Kind*, records::Resource> target(Exchange& ex, store::Connection& connection) {
  std::string arn = ex.text("ResourceArn");
  auto [kind, resource] = ex.platform.resources.find_by_arn(connection, arn);
  if (!kind)
    throw base::Error(base::Kind::invalid, fmt::format("{} names no resource that is known here.", arn));
  if (!resource)
    throw ex.platform.resources.missing(*kind, records::name_in_arn(*kind, ex.platform.account(), arn));
  return {kind, std::move(*resource)};
}

Value add_tags(Exchange& ex) {
  auto tags = tags_in(ex.list("Tags"));
  return Value::object({{"Tags", ex.write([&](store::Connection& c) {
                           auto [kind, resource] = target(ex, c);
                           ex.platform.resources.add_tags(c, *kind, resource.id, tags);
                           return tag_list(ex.platform.resources.tags(c, resource.id));
                         })}});
}

Value list_tags(Exchange& ex) {
  return Value::object({{"Tags", ex.read([&](store::Connection& c) {
                           return tag_list(ex.platform.resources.tags(c, target(ex, c).second.id));
                         })}});
}

Value delete_tags(Exchange& ex) {
  std::vector<std::string> keys;
  for (const Value& key : ex.list("TagKeys")) keys.push_back(*key.string());
  ex.write(
      [&](store::Connection& c) { ex.platform.resources.remove_tags(c, target(ex, c).second.id, keys); });
  return Value::object({});
}

// Over models, which are what there is to search in.
Value search(Exchange& ex) {
  if (ex.text("Resource") != "Model")
    throw wire::Fault("UnsupportedOperation", 400,
                      fmt::format("Search over {} is not served here", ex.text("Resource")));
  const Value everything = Value::object({});
  const Value* expression = ex.find("SearchExpression");
  size_t limit = static_cast<size_t>(ex.integer("MaxResults", 10));
  records::ListQuery query{
      .sort = ex.text("SortBy") == "ModelName" ? records::SortBy::name : records::SortBy::created,
      .descending = ex.text("SortOrder", "Descending") == "Descending",
      .limit = 1,
      .token = ex.text("NextToken"),
      .scope = "Search",
      .bodies = true};
  Value::Array results;
  ex.read([&](store::Connection& c) {
    do {
      auto page = ex.platform.resources.list(c, records::kModel, query);
      for (const auto& resource : page.resources) {
        Value model = document(ex.platform, kStoredModel, resource);
        model.set("Tags", tag_list(ex.platform.resources.tags(c, resource.id)));
        if (records::matches(model, expression ? *expression : everything))
          results.push_back(Value::object({{"Model", Value::object({{"Model", std::move(model)}})}}));
      }
      query.token = page.next;
    } while (!query.token.empty() && results.size() < limit);
  });
  Value out = Value::object({{"Results", std::move(results)}});
  if (!query.token.empty()) out.set("NextToken", query.token);
  return out;
}

constexpr Operation kOperations[] = {
    {"AddTags", Role::write, add_tags},
    {"ListTags", Role::read, list_tags},
    {"DeleteTags", Role::write, delete_tags},
    {"Search", Role::read, search},
};

}  // namespace

constexpr Family kSagemakerTags{"sagemaker", kOperations};

}  // namespace textmill::api
