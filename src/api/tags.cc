#include <fmt/format.h>

#include <algorithm>

#include "api/stored.h"
#include "records/search.h"

namespace textmill::api {

namespace {

constexpr size_t kSortedAtOnce = 500;  // rows that are read

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

/// What Search finds resources of a kind under.
struct Searched {
  std::string_view resource;
  const records::Kind& kind;
  std::string_view name;  // the member by which, as by CreationTime, the store's index sorts
  Value (*result)(const Platform& platform, const records::Resource& resource, const Value& tags);
};

Value searched_model(const Platform& platform, const records::Resource& resource, const Value& tags) {
  Value model = document(platform, kStoredModel, resource);
  model.set("Tags", tags);
  return model;
}

Value searched_job(const Platform& platform, const records::Resource& resource, const Value& tags) {
  Value job = training_job_document(platform, resource);
  constexpr std::string_view kOfDescribe[] = {"InfraCheckConfig", "ProfilerRuleConfigurations",
                                              "RemoteDebugConfig"};
  std::erase_if(*job.object(), [&](const auto& member) {
    return std::ranges::find(kOfDescribe, member.name) != std::end(kOfDescribe);
  });
  job.set("Tags", tags);
  return job;
}

constexpr Searched kSearched[] = {
    {"Model", records::kModel, "ModelName", searched_model},
    {"TrainingJob", records::kTrainingJob, "TrainingJobName", searched_job},
};

/// The documents that match, until there are `most`; then `query` says where it goes on.
Value::Array matching(Exchange& ex, const Searched& row, records::ListQuery& query, size_t most) {
  const Value everything = Value::object({});
  const Value* expression = ex.find("SearchExpression");
  Value::Array found;
  ex.read([&](store::Connection& c) {
    do {
      auto page = ex.platform.resources.list(c, row.kind, query);
      for (const auto& resource : page.resources) {
        Value one = row.result(ex.platform, resource, tag_list(ex.platform.resources.tags(c, resource.id)));
        if (records::matches(one, expression ? *expression : everything)) found.push_back(std::move(one));
      }
      query.token = page.next;
    } while (!query.token.empty() && found.size() < most);
  });
  return found;
}

/// A page of those in the order of any of their values.
Value::Array sorted(Exchange& ex, const Searched& row, records::ListQuery query, size_t limit,
                    std::string& next) {
  std::string by = ex.text("SortBy"), scope = fmt::format("{} {} {}", query.scope, by, query.descending);
  size_t from = query.token.empty() ? 0 : std::stoull(ex.platform.tokens.open(scope, query.token));
  query.token.clear();
  query.limit = kSortedAtOnce;
  auto found = matching(ex, row, query, SIZE_MAX);
  records::sort_by(found, by, query.descending);
  if (found.size() > from + limit) {
    next = ex.platform.tokens.seal(scope, std::to_string(from + limit));
    found.resize(from + limit);
  }
  found.erase(found.begin(), found.begin() + static_cast<ptrdiff_t>(std::min(from, found.size())));
  return found;
}

Value search(Exchange& ex) {
  auto row = std::ranges::find(kSearched, ex.text("Resource"), &Searched::resource);
  if (row == std::end(kSearched))
    throw wire::Fault("UnsupportedOperation", 400,
                      fmt::format("Search over {} is not served here", ex.text("Resource")));
  size_t limit = static_cast<size_t>(ex.integer("MaxResults", 10));
  std::string by = ex.text("SortBy", "CreationTime"), next;
  records::ListQuery query{.sort = by == row->name ? records::SortBy::name : records::SortBy::created,
                           .descending = ex.text("SortOrder", "Descending") == "Descending",
                           .limit = 1,
                           .token = ex.text("NextToken"),
                           .scope = fmt::format("Search{}", row->resource),
                           .bodies = true};
  Value::Array found;
  if (by == row->name || by == "CreationTime") {
    found = matching(ex, *row, query, limit);
    next = query.token;
  } else {
    found = sorted(ex, *row, query, limit, next);
  }
  Value::Array results;
  for (Value& one : found) {
    // A model is one level further down than all others.
    if (row->resource == "Model") one = Value::object({{"Model", std::move(one)}});
    results.push_back(Value::object({{std::string(row->resource), std::move(one)}}));
  }
  Value out = Value::object({{"Results", std::move(results)}});
  if (!next.empty()) out.set("NextToken", next);
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
