#include <algorithm>
#include <map>

#include "store/logs.h"

namespace textmill::store {

namespace {

constexpr int64_t kDay = 86'400'000;                       // milliseconds
constexpr uint64_t kSmall = 256 << 10, kMerged = 1 << 20;  // bytes of messages
constexpr int kAtOnce = 256;                               // blocks per transaction

/// Deletes at most so many of a stream's blocks; how many.
int64_t delete_blocks(Connection& connection, int64_t stream, int64_t before, int64_t most) {
  int64_t deleted = connection.execute(
      "DELETE FROM log_blocks WHERE id IN (SELECT id FROM log_blocks WHERE stream = ? AND first < ? AND last "
      "< ? LIMIT ?)",
      stream, before, before, most);
  if (deleted > 0)
    connection.execute(
        "UPDATE log_streams SET (bytes, first_event) ="
        " (SELECT coalesce(sum(bytes), 0), min(first) FROM log_blocks WHERE stream = ?1) WHERE id = ?1",
        stream);
  return deleted;
}

bool purge_deleted(Database& database) {
  std::vector<int64_t> streams;
  database.read([&](Connection& c) {
    Rows rows = c.query("SELECT id FROM log_streams WHERE log_group IS NULL LIMIT ?", kAtOnce);
    while (rows.next()) streams.push_back(rows.integer(0));
  });
  if (streams.empty()) return false;
  database.write([&](Connection& c) {
    int64_t left = kAtOnce;
    for (int64_t stream : streams) {
      int64_t deleted = delete_blocks(c, stream, INT64_MAX, left);
      if (deleted == left) return;
      left -= deleted;
      c.execute("DELETE FROM log_streams WHERE id = ?", stream);
    }
  });
  return true;
}

bool purge_expired(Database& database, base::WallTime now) {
  int64_t today = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count();
  struct Expired {
    int64_t stream, before;
  };
  auto expired = database.read([&](Connection& c) {
    std::vector<Expired> found;
    Rows rows = c.query(
        "SELECT s.id, ?1 - r.days * ?2 AS before FROM log_retention r JOIN log_streams s ON s.log_group = "
        "r.log_group"
        " WHERE EXISTS (SELECT 1 FROM log_blocks b WHERE b.stream = s.id AND b.first < ?1 - r.days * ?2"
        " AND b.last < ?1 - r.days * ?2)",
        today, kDay);
    while (rows.next()) found.push_back({rows.integer(0), rows.integer(1)});
    return found;
  });
  bool more = false;
  for (const Expired& e : expired)
    more |= database.write(
        [&](Connection& c) { return delete_blocks(c, e.stream, e.before, kAtOnce) == kAtOnce; });
  return more;
}

struct Small {
  int64_t id, sequence;
  uint64_t bytes;
};

/// Replaces the blocks by one with the same events, in the order of their times.
void merge(Database& database, int64_t stream, std::span<const Small> blocks) {
  std::vector<LogEvent> events;
  uint64_t bytes = 0;
  database.read([&](Connection& c) {
    for (const Small& small : blocks) {
      Rows rows = c.query("SELECT data FROM log_blocks WHERE id = ?", small.id);
      if (!rows.next()) continue;
      LogBlock block(rows.text(0));
      for (const LogEventView& event : block.events())
        events.push_back(
            {event.time, event.ingested, event.sequence + small.sequence, std::string(event.message)});
      bytes += small.bytes;
    }
  });
  std::ranges::sort(events, {}, [](const LogEvent& event) { return std::pair(event.time, event.sequence); });
  std::string data = encode_log_block(events);
  database.write([&](Connection& c) {
    for (const Small& small : blocks) c.execute("DELETE FROM log_blocks WHERE id = ?", small.id);
    c.execute("INSERT INTO log_blocks (stream, first, last, sequence, bytes, data) VALUES (?, ?, ?, 0, ?, ?)",
              stream, events.front().time, events.back().time, bytes, Bytes{data});
  });
}

bool merge_small(Database& database) {
  auto stream = database.read(
      [](Connection& c) { return c.integer("SELECT id FROM log_streams WHERE loose >= 16 LIMIT 1"); });
  if (!stream) return false;
  // A block never spans two days more than its batches did, so that retention can drop it whole.
  std::map<int64_t, std::vector<Small>> by_day;
  database.read([&](Connection& c) {
    Rows rows = c.query(
        "SELECT id, sequence, bytes, first FROM log_blocks WHERE stream = ? AND bytes < ? ORDER BY first",
        *stream, kSmall);
    while (rows.next())
      by_day[rows.integer(3) / kDay].push_back(
          {rows.integer(0), rows.integer(1), static_cast<uint64_t>(rows.integer(2))});
  });
  for (const auto& [day, blocks] : by_day) {
    std::span<const Small> rest(blocks);
    while (rest.size() > 1) {
      size_t count = 0;
      for (uint64_t bytes = 0; count < std::min<size_t>(rest.size(), kAtOnce) && bytes < kMerged; ++count)
        bytes += rest[count].bytes;
      merge(database, *stream, rest.first(count));
      rest = rest.subspan(count);
    }
  }
  // Blocks that came meanwhile wait for the next 16.
  database.write([&](Connection& c) { c.execute("UPDATE log_streams SET loose = 0 WHERE id = ?", *stream); });
  return true;
}

}  // namespace

bool tend_logs(Database& database, base::WallTime now) {
  bool deleted = purge_deleted(database), expired = purge_expired(database, now),
       merged = merge_small(database);
  return deleted || expired || merged;
}

}  // namespace textmill::store
