#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "store/database.h"
#include "store/log_block.h"

// Log streams and their events. A group is a number that somebody else gives (its resource); events lie in packed
// blocks, one per batch at first, merged into larger ones later.

namespace textmill::store {

struct LogStream {
  int64_t id = 0;
  std::string name;
  base::WallTime created;
  std::optional<int64_t> first_event, last_event, last_ingestion;  // milliseconds
  int64_t events = 0;                                              // ever taken
  uint64_t bytes = 0;                                              // stored, before packing
};

/// Throws exists.
void create_log_stream(Connection& connection, int64_t group, std::string_view name);
std::optional<LogStream> find_log_stream(Connection& connection, int64_t group, std::string_view name);

struct StreamQuery {
  std::string prefix;
  bool by_last_event = false;  // else by name
  bool descending = false;
  size_t limit = 50;
  std::string after;  // the name of the last one of the page before; empty: at the beginning
  size_t skip = 0;    // how many came before, when by_last_event
};
std::vector<LogStream> list_log_streams(Connection& connection, int64_t group, const StreamQuery& query);

/// Gone at once; the space comes back with tend_logs.
void delete_log_stream(Connection& connection, int64_t stream);
void delete_log_streams(Connection& connection, int64_t group);

/// Events older than that are not found any more, and deleted by tend_logs. 0: kept for ever.
void set_log_retention(Connection& connection, int64_t group, int days);
int log_retention(Connection& connection, int64_t group);
uint64_t stored_log_bytes(Connection& connection, int64_t group);

/// A batch, packed ahead of the transaction that takes it.
class LogBatch {
 public:
  /// `events` in the order of their times, not empty; their sequences are counted here.
  explicit LogBatch(std::vector<LogEvent> events);
  /// Throws not_found when the stream is gone.
  void append_to(Connection& connection, int64_t stream) const;

 private:
  int64_t first_, last_, ingested_, count_;
  uint64_t bytes_ = 0;
  std::string block_;
};

/// Where an event stands among all: by time, then stream, then arrival.
struct LogPosition {
  int64_t time = 0, stream = 0, sequence = 0;
  auto operator<=>(const LogPosition&) const = default;
};

struct FoundEvent {
  int64_t stream = 0;
  LogEvent event;
  LogPosition position() const { return {event.time, stream, event.sequence}; }
};

struct EventQuery {
  std::vector<int64_t> streams;
  int64_t from = INT64_MIN, to = INT64_MAX;  // milliseconds, [from, to)
  std::optional<LogPosition> after, before;  // exclusive
  bool backward = false;                     // the last ones of the range, not the first
  size_t limit = 10'000;
  size_t max_bytes = 1 << 20;                                  // of messages; one event always fits
  uint64_t max_scan = uint64_t{8} << 30;                       // of messages looked at, about
  std::string literal;                                         // what a message must contain; empty: anything
  std::function<bool(std::string_view message)> accepts = {};  // empty: all
};

struct FoundEvents {
  std::vector<FoundEvent> events;   // in the order of their positions
  std::optional<LogPosition> next;  // a limit came before the end of the range: the rest is beyond this
};

FoundEvents find_log_events(Connection& connection, const EventQuery& query);

/// Deletes what retention or a deleted stream left, and merges small blocks; some of each per call. True: call again.
bool tend_logs(Database& database, base::WallTime now);

}  // namespace textmill::store
