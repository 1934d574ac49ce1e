#include "records/resources.h"

#include <fmt/args.h>
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace textmill::records {

namespace {

Resource resource_of(const store::Rows& rows, bool body) {
  return {.id = rows.integer(0),
          .name = rows.string(1),
          .created = rows.time(2),
          .modified = rows.time(3),
          .status = rows.string(4),
          .body = body ? format::parse_kept_json(rows.text(5), "a stored resource") : format::Json()};
}

base::Error error_of(base::Kind kind, std::string_view text, std::string_view name, const std::string& arn) {
  return {kind, fmt::format(fmt::runtime(text), fmt::arg("name", name), fmt::arg("arn", arn))};
}

format::Json with_defaults(format::Json body, std::string_view defaults) {
  const format::Json parsed = format::parse_json(defaults, "defaults");
  for (const auto& [name, value] : *parsed.object())
    if (!body.find(name)) body.set(name, value);
  return body;
}

struct Column {
  std::string_view name;
  bool number;
};

Column column_of(SortBy sort) {
  switch (sort) {
    case SortBy::name: return {"key", false};
    case SortBy::created: return {"created", true};
    case SortBy::modified: return {"modified", true};
    case SortBy::status: return {"status", false};
  }
  return {};
}

/// Conditions on the columns of the index listed_resources; `list` binds the values.
std::string filters_of(const ListQuery& query) {
  std::string out;
  auto add = [&](bool asked, const char* condition) {
    if (asked) out.append(" AND ").append(condition);
  };
  add(!query.name_contains.empty(), "instr(key, ?2)");
  add(!query.name_prefix.empty(), "substr(key, 1, length(?3)) = ?3");
  add(!query.status.empty(), "status = ?4");
  add(query.created_from.has_value(), "created >= ?5");
  add(query.created_before.has_value(), "created < ?6");
  add(query.modified_from.has_value(), "modified >= ?7");
  add(query.modified_before.has_value(), "modified < ?8");
  return out;
}

std::string value_of(const Kind& kind, const Resource& resource, SortBy sort) {
  switch (sort) {
    case SortBy::name: return key_of(kind, resource.name);
    case SortBy::created: return std::to_string(resource.created.time_since_epoch().count());
    case SortBy::modified: return std::to_string(resource.modified.time_since_epoch().count());
    case SortBy::status: return resource.status;
  }
  return {};
}

}  // namespace

base::Error Resources::missing(const Kind& kind, std::string_view name) const {
  return error_of(kind.missing, kind.missing_text, name, arn(kind, name));
}

base::Error Resources::taken(const Kind& kind, std::string_view name) const {
  return error_of(kind.taken, kind.taken_text, name, arn(kind, name));
}

Resource Resources::create(store::Connection& connection, const Kind& kind, const NewResource& wanted) const {
  Resource resource{.name = wanted.name,
                    .created = base::wall_now(),
                    .status = std::string(kind.status),
                    .body = with_defaults(wanted.body, kind.defaults)};
  resource.modified = resource.created;
  std::string key = key_of(kind, wanted.name), body = format::to_text(resource.body);
  {
    store::Rows rows = connection.query(
        "SELECT token, body, id, created FROM resources WHERE kind = ? AND key = ?", kind.name, key);
    if (rows.next()) {
      if (wanted.token.empty() || rows.text(0) != wanted.token) throw taken(kind, wanted.name);
      if (rows.text(1) != body)
        throw base::Error(base::Kind::conflict,
                          fmt::format("The token {} was used to create something else.", wanted.token));
      resource.id = rows.integer(2);
      resource.created = resource.modified = rows.time(3);
      return resource;
    }
  }
  connection.execute(
      "INSERT INTO resources (kind, key, name, created, modified, status, token, body) VALUES (?, ?, ?, ?, "
      "?, ?, ?, ?)",
      kind.name, key, resource.name, resource.created, resource.modified, resource.status, wanted.token,
      body);
  resource.id = connection.last_id();
  add_tags(connection, kind, resource.id, wanted.tags);
  return resource;
}

std::optional<Resource> Resources::find(store::Connection& connection, const Kind& kind,
                                        std::string_view name) const {
  store::Rows rows = connection.query(
      "SELECT id, name, created, modified, status, body FROM resources WHERE kind = ? AND key = ?", kind.name,
      key_of(kind, name));
  return rows.next() ? std::optional(resource_of(rows, true)) : std::nullopt;
}

Resource Resources::get(store::Connection& connection, const Kind& kind, std::string_view name) const {
  auto resource = find(connection, kind, name);
  if (!resource) throw missing(kind, name);
  return *resource;
}

std::pair<const Kind*, std::optional<Resource>> Resources::find_by_arn(store::Connection& connection,
                                                                       std::string_view arn) const {
  for (const Kind* kind : kinds())
    if (std::string name = name_in_arn(*kind, account_, arn); !name.empty())
      return {kind, find(connection, *kind, name)};
  return {nullptr, std::nullopt};
}

std::vector<Resource> Resources::live(store::Connection& connection, const Kind& kind) const {
  // The condition is that of the index live_resources.
  store::Rows rows = connection.query(
      "SELECT id, name, created, modified, status, body FROM resources WHERE kind = ? AND status IN "
      "('InProgress', "
      "'Stopping', 'Creating', 'Updating', 'Deleting') ORDER BY id",
      kind.name);
  std::vector<Resource> out;
  while (rows.next()) out.push_back(resource_of(rows, true));
  return out;
}

void Resources::update(store::Connection& connection, const Resource& resource) const {
  connection.execute("UPDATE resources SET modified = ?, body = ? WHERE id = ?", base::wall_now(),
                     format::to_text(resource.body), resource.id);
}

void Resources::set_status(store::Connection& connection, const Kind& kind, Resource& resource,
                           std::string_view status) const {
  bool legal = std::ranges::any_of(kind.transitions, [&](const Transition& transition) {
    return transition.from == resource.status && transition.to == status;
  });
  if (!legal)
    throw base::Error(base::Kind::conflict, fmt::format("{} {} is {} and cannot become {}.", kind.name,
                                                        resource.name, resource.status, status));
  resource.status = status;
  resource.modified = base::wall_now();
  connection.execute("UPDATE resources SET modified = ?, status = ? WHERE id = ?", resource.modified, status,
                     resource.id);
}

void Resources::remove(store::Connection& connection, const Kind& kind, std::string_view name) const {
  auto id = connection.integer("SELECT id FROM resources WHERE kind = ? AND key = ?", kind.name,
                               key_of(kind, name));
  if (!id) throw missing(kind, name);
  connection.execute("DELETE FROM tags WHERE resource = ?", *id);
  connection.execute("DELETE FROM resources WHERE id = ?", *id);
}

std::pair<int64_t, std::string> Resources::where_it_ended(const ListQuery& query,
                                                          const std::string& scope) const {
  if (query.token.empty()) {
    bool number = column_of(query.sort).number;
    if (!query.descending) return {-1, number ? std::to_string(INT64_MIN) : ""};
    return {INT64_MAX, number ? std::to_string(INT64_MAX) : "\xff"};
  }
  std::string payload = tokens_.open(scope, query.token);  // "ID VALUE"
  size_t space = payload.find(' ');
  return {std::stoll(payload.substr(0, space)), payload.substr(space + 1)};
}

Page Resources::list(store::Connection& connection, const Kind& kind, const ListQuery& query) const {
  Column column = column_of(query.sort);
  std::string scope = fmt::format("{} {} {}", query.scope, column.name, query.descending);
  const char* way = query.descending ? "DESC" : "ASC";
  // Not by names: clang's analyzer takes captured ones for uninitialized.
  const auto ended = where_it_ended(query, scope);
  // The first page begins beyond what no resource has, so that every page is one range of the index; what does not match
  // is passed over within it.
  std::string filters = filters_of(query);
  bool in_order = query.sort == SortBy::name && filters.empty();
  std::string sql = fmt::format(
      "SELECT r.id, r.name, r.created, r.modified, r.status, {} FROM (SELECT id AS found FROM resources {} "
      "WHERE kind = ?1{} AND ({}, id) {} (?9, ?10) ORDER BY {} {}, id {} LIMIT ?11) JOIN resources AS r ON "
      "r.id = found ORDER BY r.{} {}, r.id {}",
      query.bodies ? "r.body" : "NULL", in_order ? "" : "INDEXED BY listed_resources", filters, column.name,
      query.descending ? '<' : '>', column.name, way, way, column.name, way, way);
  auto run = [&](const auto& beyond) {
    return connection.query(sql, kind.name, key_of(kind, query.name_contains),
                            key_of(kind, query.name_prefix), query.status, query.created_from,
                            query.created_before, query.modified_from, query.modified_before, beyond,
                            ended.first, query.limit + 1);
  };
  store::Rows rows = column.number ? run(std::stoll(ended.second)) : run(ended.second);
  Page page;
  while (rows.next()) {
    if (page.resources.size() == query.limit) {
      const Resource& last = page.resources.back();
      page.next = tokens_.seal(scope, fmt::format("{} {}", last.id, value_of(kind, last, query.sort)));
      break;
    }
    page.resources.push_back(resource_of(rows, query.bodies));
  }
  return page;
}

void Resources::add_tags(store::Connection& connection, const Kind& kind, int64_t resource,
                         const Tags& tags) const {
  for (const auto& [key, value] : tags)
    connection.execute("INSERT OR REPLACE INTO tags (resource, key, value) VALUES (?, ?, ?)", resource, key,
                       value);
  auto count = connection.integer("SELECT count(*) FROM tags WHERE resource = ?", resource);
  if (static_cast<size_t>(*count) > kind.max_tags)
    throw base::Error(base::Kind::limit, fmt::format("A resource can have at most {} tags.", kind.max_tags));
}

void Resources::remove_tags(store::Connection& connection, int64_t resource,
                            const std::vector<std::string>& keys) const {
  for (const auto& key : keys)
    connection.execute("DELETE FROM tags WHERE resource = ? AND key = ?", resource, key);
}

Tags Resources::tags(store::Connection& connection, int64_t resource) const {
  Tags tags;
  store::Rows rows = connection.query("SELECT key, value FROM tags WHERE resource = ?", resource);
  while (rows.next()) tags.emplace(rows.text(0), rows.text(1));
  return tags;
}

}  // namespace textmill::records
