#include "store/logs.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace textmill::store {

namespace {

LogStream stream_of(const Rows& rows) {
  return {.id = rows.integer(0),
          .name = rows.string(1),
          .created = rows.time(2),
          .first_event = rows.optional_integer(3),
          .last_event = rows.optional_integer(4),
          .last_ingestion = rows.optional_integer(5),
          .events = rows.integer(6),
          .bytes = static_cast<uint64_t>(rows.integer(7))};
}

constexpr std::string_view kStreamColumns =
    "id, name, created, first_event, last_event, last_ingestion, events, bytes";

}  // namespace

void create_log_stream(Connection& connection, int64_t group, std::string_view name) {
  if (find_log_stream(connection, group, name))
    throw base::Error(base::Kind::exists, "The specified log stream already exists");
  connection.execute("INSERT INTO log_streams (log_group, name, created) VALUES (?, ?, ?)", group, name,
                     base::wall_now());
}

std::optional<LogStream> find_log_stream(Connection& connection, int64_t group, std::string_view name) {
  static const std::string kSql =
      fmt::format("SELECT {} FROM log_streams WHERE log_group = ? AND name = ?", kStreamColumns);
  Rows rows = connection.query(kSql, group, name);
  return rows.next() ? std::optional(stream_of(rows)) : std::nullopt;
}

std::vector<LogStream> list_log_streams(Connection& connection, int64_t group, const StreamQuery& query) {
  const char* order = query.descending ? "DESC" : "ASC";
  std::string sql =
      query.by_last_event
          ? fmt::format(
                "SELECT {} FROM log_streams WHERE log_group = ? AND substr(name, 1, length(?)) = ?"
                " ORDER BY coalesce(last_event, 0) {}, name {} LIMIT ? OFFSET ?",
                kStreamColumns, order, order)
          : fmt::format(
                "SELECT {} FROM log_streams WHERE log_group = ? AND substr(name, 1, length(?)) = ?"
                " AND name {} ? ORDER BY name {} LIMIT ?",
                kStreamColumns, query.descending ? '<' : '>', order);
  std::string beyond = query.after.empty() && query.descending ? "\xff" : query.after;
  Rows rows = query.by_last_event
                  ? connection.query(sql, group, query.prefix, query.prefix, query.limit, query.skip)
                  : connection.query(sql, group, query.prefix, query.prefix, beyond, query.limit);
  std::vector<LogStream> streams;
  while (rows.next()) streams.push_back(stream_of(rows));
  return streams;
}

void delete_log_stream(Connection& connection, int64_t stream) {
  connection.execute("UPDATE log_streams SET log_group = NULL WHERE id = ?", stream);
}

void delete_log_streams(Connection& connection, int64_t group) {
  connection.execute("UPDATE log_streams SET log_group = NULL WHERE log_group = ?", group);
  connection.execute("DELETE FROM log_retention WHERE log_group = ?", group);
}

void set_log_retention(Connection& connection, int64_t group, int days) {
  if (days == 0)
    connection.execute("DELETE FROM log_retention WHERE log_group = ?", group);
  else
    connection.execute("INSERT OR REPLACE INTO log_retention (log_group, days) VALUES (?, ?)", group, days);
}

int log_retention(Connection& connection, int64_t group) {
  return static_cast<int>(
      connection.integer("SELECT days FROM log_retention WHERE log_group = ?", group).value_or(0));
}

uint64_t stored_log_bytes(Connection& connection, int64_t group) {
  return static_cast<uint64_t>(
      connection.integer("SELECT sum(bytes) FROM log_streams WHERE log_group = ?", group).value_or(0));
}

LogBatch::LogBatch(std::vector<LogEvent> events)
    : first_(events.front().time),
      last_(events.back().time),
      ingested_(events.front().ingested),
      count_(static_cast<int64_t>(events.size())) {
  int64_t sequence = 0;
  for (LogEvent& event : events) {
    event.sequence = sequence++;
    bytes_ += event.message.size();
  }
  block_ = encode_log_block(events);
}

void LogBatch::append_to(Connection& connection, int64_t stream) const {
  auto before =
      connection.integer("SELECT events FROM log_streams WHERE id = ? AND log_group IS NOT NULL", stream);
  if (!before) throw base::Error(base::Kind::not_found, "The specified log stream does not exist.");
  connection.execute(
      "INSERT INTO log_blocks (stream, first, last, sequence, bytes, data) VALUES (?, ?, ?, ?, ?, ?)", stream,
      first_, last_, *before, bytes_, Bytes{block_});
  connection.execute(
      "UPDATE log_streams SET events = events + ?, bytes = bytes + ?, loose = loose + 1, last_ingestion = ?,"
      " first_event = min(coalesce(first_event, ?4), ?4), last_event = max(coalesce(last_event, ?5), ?5) "
      "WHERE id = ?",
      count_, bytes_, ingested_, first_, last_, stream);
}

}  // namespace textmill::store
