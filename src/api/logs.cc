#include "api/logs.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/stored.h"

// Groups are resources; their streams, events and retention are the store's.

namespace textmill::api {

namespace {

using records::kLogGroup;

base::Error invalid(const std::string& message) { return {base::Kind::invalid, message}; }

/// "G" of "G" and of its ARN.
std::string group_name(const Exchange& ex, const std::string& identifier) {
  if (!identifier.starts_with("arn:")) return identifier;
  std::string name = records::name_in_arn(kLogGroup, ex.platform.account(), identifier);
  if (name.empty()) throw invalid(fmt::format("{} is no ARN of a log group here.", identifier));
  return name;
}

}  // namespace

int64_t to_milliseconds(base::WallTime time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

std::string sequence_token(int64_t stream) { return fmt::format("{:056}", stream); }

records::Resource log_group_in(Exchange& ex, store::Connection& connection) {
  bool named = ex.find("logGroupName"), identified = ex.find("logGroupIdentifier");
  if (named == identified)
    throw invalid("Exactly one of logGroupName and logGroupIdentifier must be specified.");
  std::string name = named ? ex.text("logGroupName") : group_name(ex, ex.text("logGroupIdentifier"));
  return ex.platform.resources.get(connection, kLogGroup, name);
}

store::LogStream log_stream_in(store::Connection& connection, const records::Resource& group,
                               std::string_view name) {
  auto stream = store::find_log_stream(connection, group.id, name);
  if (!stream) throw base::Error(base::Kind::not_found, "The specified log stream does not exist.");
  return *stream;
}

int64_t oldest_kept(store::Connection& connection, const records::Resource& group) {
  int days = store::log_retention(connection, group.id);
  return days == 0 ? 0 : to_milliseconds(base::wall_now() - std::chrono::days(days));
}

namespace {

records::Tags tags_in_map(const Value* map) {
  records::Tags tags;
  if (map)
    for (const auto& [key, value] : *map->object()) {
      if (key.starts_with("aws:")) throw invalid("Tag keys must not begin with aws:, which is AWS's own.");
      tags.emplace(key, *value.string());
    }
  return tags;
}

Value create_log_group(Exchange& ex) {
  records::NewResource wanted{
      .name = ex.text("logGroupName"), .body = Value::object({}), .tags = tags_in_map(ex.find("tags"))};
  for (const char* member : {"kmsKeyId", "logGroupClass", "deletionProtectionEnabled"})
    if (const Value* value = ex.find(member)) wanted.body.set(member, *value);
  ex.write([&](store::Connection& c) { ex.platform.resources.create(c, kLogGroup, wanted); });
  return {};
}

Value delete_log_group(Exchange& ex) {
  ex.write([&](store::Connection& c) {
    auto group = log_group_in(ex, c);
    const Value* locked = group.body.find("deletionProtectionEnabled");
    if (locked && *locked->boolean())
      throw wire::Fault("ValidationException", 400,
                        "The log group is protected from deletion: turn that off first.");
    store::delete_log_streams(c, group.id);
    ex.platform.resources.remove(c, kLogGroup, group.name);
  });
  return {};
}

Value put_deletion_protection(Exchange& ex) {
  ex.write([&](store::Connection& c) {
    auto group = log_group_in(ex, c);
    group.body.set("deletionProtectionEnabled", ex.boolean("deletionProtectionEnabled"));
    ex.platform.resources.update(c, group);
  });
  return {};
}

Value shown(Exchange& ex, store::Connection& c, const records::Resource& group) {
  std::string arn = ex.platform.resources.arn(kLogGroup, group.name);
  Value out = Value::object({{"logGroupName", group.name},
                             {"creationTime", to_milliseconds(group.created)},
                             {"metricFilterCount", 0},
                             {"arn", arn + ":*"},
                             {"logGroupArn", arn},
                             {"storedBytes", store::stored_log_bytes(c, group.id)},
                             {"logGroupClass", text_in(group.body, "logGroupClass", "STANDARD")}});
  if (int days = store::log_retention(c, group.id)) out.set("retentionInDays", days);
  for (const char* member : {"kmsKeyId", "deletionProtectionEnabled"})
    if (const Value* value = group.body.find(member)) out.set(member, *value);
  return out;
}

Value describe_log_groups(Exchange& ex) {
  if (ex.find("logGroupNamePrefix") && ex.find("logGroupNamePattern"))
    throw invalid("logGroupNamePrefix and logGroupNamePattern cannot be specified together.");
  return ex.read([&](store::Connection& c) {
    Value::Array groups;
    if (ex.find("logGroupIdentifiers")) {
      for (const Value& identifier : ex.list("logGroupIdentifiers"))
        if (auto group = ex.platform.resources.find(c, kLogGroup, group_name(ex, *identifier.string())))
          groups.push_back(shown(ex, c, *group));
      return Value::object({{"logGroups", std::move(groups)}});
    }
    records::ListQuery query{.sort = records::SortBy::name,
                             .descending = false,
                             .name_contains = ex.text("logGroupNamePattern"),
                             .name_prefix = ex.text("logGroupNamePrefix"),
                             .limit = static_cast<size_t>(ex.integer("limit", 50)),
                             .token = ex.text("nextToken"),
                             .scope = "DescribeLogGroups",
                             .bodies = true};
    auto page = ex.platform.resources.list(c, kLogGroup, query);
    std::string wanted = ex.text("logGroupClass");
    for (const auto& group : page.resources)
      if (wanted.empty() || wanted == text_in(group.body, "logGroupClass", "STANDARD"))
        groups.push_back(shown(ex, c, group));
    Value out = Value::object({{"logGroups", std::move(groups)}});
    if (!page.next.empty()) out.set("nextToken", page.next);
    return out;
  });
}

Value create_log_stream(Exchange& ex) {
  ex.write([&](store::Connection& c) {
    store::create_log_stream(c, log_group_in(ex, c).id, ex.text("logStreamName"));
  });
  return {};
}

Value delete_log_stream(Exchange& ex) {
  ex.write([&](store::Connection& c) {
    store::delete_log_stream(c, log_stream_in(c, log_group_in(ex, c), ex.text("logStreamName")).id);
  });
  return {};
}

Value shown(const store::LogStream& stream, const std::string& group_arn) {
  Value out = Value::object({{"logStreamName", stream.name},
                             {"creationTime", to_milliseconds(stream.created)},
                             {"uploadSequenceToken", sequence_token(stream.id)},
                             {"arn", fmt::format("{}:log-stream:{}", group_arn, stream.name)},
                             {"storedBytes", stream.bytes}});
  if (stream.first_event) out.set("firstEventTimestamp", *stream.first_event);
  if (stream.last_event) out.set("lastEventTimestamp", *stream.last_event);
  if (stream.last_ingestion) out.set("lastIngestionTime", *stream.last_ingestion);
  return out;
}

Value describe_log_streams(Exchange& ex) {
  store::StreamQuery query{.prefix = ex.text("logStreamNamePrefix"),
                           .by_last_event = ex.text("orderBy") == "LastEventTime",
                           .descending = ex.boolean("descending")};
  if (query.by_last_event && !query.prefix.empty())
    throw invalid("Cannot order by LastEventTime with a logStreamNamePrefix.");
  auto limit = static_cast<size_t>(ex.integer("limit", 50));
  query.limit = limit + 1;
  return ex.read([&](store::Connection& c) {
    auto group = log_group_in(ex, c);
    std::string scope =
        fmt::format("DescribeLogStreams {} {} {}", group.id, query.by_last_event, query.descending);
    if (std::string token = ex.text("nextToken"); !token.empty()) {
      query.after = ex.platform.tokens.open(scope, token);
      if (query.by_last_event) query.skip = std::stoul(query.after);
    }
    auto streams = store::list_log_streams(c, group.id, query);
    Value out = Value::object({});
    if (streams.size() > limit) {
      streams.pop_back();
      out.set("nextToken",
              ex.platform.tokens.seal(
                  scope, query.by_last_event ? std::to_string(query.skip + limit) : streams.back().name));
    }
    std::string arn = ex.platform.resources.arn(kLogGroup, group.name);
    Value::Array list;
    for (const auto& stream : streams) list.push_back(shown(stream, arn));
    out.set("logStreams", std::move(list));
    return out;
  });
}

Value put_retention_policy(Exchange& ex) {
  static constexpr int64_t kDays[] = {1,   3,   5,   7,   14,   30,   60,   90,   120,  150,  180,
                                      365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653};
  int64_t days = ex.integer("retentionInDays", 0);
  if (std::ranges::find(kDays, days) == std::end(kDays))
    throw invalid(fmt::format("Invalid retention value: {}. Valid values are: {}", days,
                              fmt::join(std::begin(kDays), std::end(kDays), ", ")));
  ex.write([&](store::Connection& c) {
    store::set_log_retention(c, log_group_in(ex, c).id, static_cast<int>(days));
  });
  return {};
}

Value delete_retention_policy(Exchange& ex) {
  ex.write([&](store::Connection& c) { store::set_log_retention(c, log_group_in(ex, c).id, 0); });
  return {};
}

// Tags of a group, which is named by its ARN or, in the older operations, by its name.

records::Resource tagged(Exchange& ex, store::Connection& c) {
  if (ex.find("logGroupName")) return log_group_in(ex, c);
  return ex.platform.resources.get(c, kLogGroup, group_name(ex, ex.text("resourceArn")));
}

Value tag(Exchange& ex) {
  auto tags = tags_in_map(ex.find("tags"));
  ex.write([&](store::Connection& c) {
    auto group = tagged(ex, c);
    auto all = ex.platform.resources.tags(c, group.id);
    all.insert(tags.begin(), tags.end());
    if (all.size() > kLogGroup.max_tags)
      throw wire::Fault("TooManyTagsException", 400,
                        fmt::format("A resource can have at most {} tags.", kLogGroup.max_tags),
                        Value::object({{"resourceName", group.name}}));
    ex.platform.resources.add_tags(c, kLogGroup, group.id, tags);
  });
  return {};
}

Value untag(Exchange& ex) {
  std::vector<std::string> keys;
  for (const char* member : {"tagKeys", "tags"})
    for (const Value& key : ex.list(member)) keys.push_back(*key.string());
  ex.write([&](store::Connection& c) { ex.platform.resources.remove_tags(c, tagged(ex, c).id, keys); });
  return {};
}

Value list_tags(Exchange& ex) {
  auto tags = ex.read([&](store::Connection& c) { return ex.platform.resources.tags(c, tagged(ex, c).id); });
  Value map = Value::object({});
  for (const auto& [key, value] : tags) map.set(key, value);
  return Value::object({{"tags", std::move(map)}});
}

constexpr Operation kOperations[] = {
    {"CreateLogGroup", Role::write, create_log_group},
    {"DeleteLogGroup", Role::write, delete_log_group},
    {"DescribeLogGroups", Role::read, describe_log_groups},
    {"PutLogGroupDeletionProtection", Role::write, put_deletion_protection},
    {"CreateLogStream", Role::write, create_log_stream},
    {"DeleteLogStream", Role::write, delete_log_stream},
    {"DescribeLogStreams", Role::read, describe_log_streams},
    {"PutRetentionPolicy", Role::write, put_retention_policy},
    {"DeleteRetentionPolicy", Role::write, delete_retention_policy},
    {"TagResource", Role::write, tag},
    {"UntagResource", Role::write, untag},
    {"ListTagsForResource", Role::read, list_tags},
    {"TagLogGroup", Role::write, tag},
    {"UntagLogGroup", Role::write, untag},
    {"ListTagsLogGroup", Role::read, list_tags},
};

}  // namespace

constexpr Family kLogs{"logs", kOperations};

}  // namespace textmill::api
