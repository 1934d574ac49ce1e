#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "api/log_pattern.h"
#include "api/logs.h"

namespace textmill::api {

namespace {

constexpr int64_t kHour = 3'600'000, kDay = 24 * kHour;  // milliseconds
constexpr size_t kLargestBatch = 1 << 20, kPerEvent = 26;
constexpr int64_t kMostEvents = 10'000;

base::Error invalid(const std::string& message) { return {base::Kind::invalid, message}; }

/// Throws for what no event of a batch may do to the others.
void check_batch(const std::vector<store::LogEvent>& events) {
  size_t bytes = 0;
  for (size_t i = 0; i < events.size(); ++i) {
    bytes += events[i].message.size() + kPerEvent;
    if (i > 0 && events[i].time < events[i - 1].time)
      throw invalid("Log events in a single PutLogEvents request must be in chronological order.");
  }
  if (bytes > kLargestBatch)
    throw invalid(fmt::format("Upload too large: {} bytes exceeds limit of {}", bytes, kLargestBatch));
  if (events.back().time - events.front().time > kDay)
    throw invalid("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.");
}

Value put_log_events(Exchange& ex) {
  int64_t now = to_milliseconds(base::wall_now());
  std::vector<store::LogEvent> events;
  for (const Value& event : ex.list("logEvents"))
    events.push_back({.time = *event.find("timestamp")->integer(),
                      .ingested = now,
                      .message = *event.find("message")->string()});
  check_batch(events);
  auto [stream, oldest] = ex.read([&](store::Connection& c) {
    auto group = log_group_in(ex, c);
    return std::pair(log_stream_in(c, group, ex.text("logStreamName")).id, oldest_kept(c, group));
  });

  // In the order of their times: the refused ones are at the ends.
  auto first_from = [&](int64_t time) {
    return std::ranges::lower_bound(events, time, {}, &store::LogEvent::time) - events.begin();
  };
  auto old = first_from(now - 14 * kDay), expired = first_from(oldest),
       fresh = first_from(now + 2 * kHour + 1);
  Value rejected = Value::object({});
  if (old > 0) rejected.set("tooOldLogEventEndIndex", old);
  if (expired > 0) rejected.set("expiredLogEventEndIndex", expired);
  if (fresh < std::ssize(events)) rejected.set("tooNewLogEventStartIndex", fresh);
  events.erase(events.begin() + fresh, events.end());
  events.erase(events.begin(), events.begin() + std::min(std::max(old, expired), std::ssize(events)));

  if (!events.empty()) {
    store::LogBatch batch(std::move(events));
    ex.write([&, id = stream](store::Connection& c) { batch.append_to(c, id); });
  }
  Value out = Value::object({{"nextSequenceToken", sequence_token(stream)}});
  if (!rejected.object()->empty()) out.set("rejectedLogEventsInfo", std::move(rejected));
  return out;
}

// Tokens are a position, sealed for one stream or one group.

std::string text_of(const store::LogPosition& position) {
  return fmt::format("{} {} {}", position.time, position.stream, position.sequence);
}

store::LogPosition position_of(const std::string& text) {
  store::LogPosition position;
  const char *at = text.data(), *end = at + text.size();
  for (int64_t* number : {&position.time, &position.stream, &position.sequence})
    at = std::min(std::from_chars(at, end, *number).ptr + 1, end);
  return position;
}

void set_range(Exchange& ex, store::EventQuery& query, int64_t oldest, int64_t end) {
  int64_t start = ex.integer("startTime", 0);
  if (ex.find("startTime") && ex.find("endTime") && ex.integer("endTime", 0) < start)
    throw invalid("endTime must not be before startTime.");
  query.from = std::max(start, oldest);
  query.to = end;
  query.limit = static_cast<size_t>(ex.integer("limit", kMostEvents));
}

// A token names the gap before a position: "f/" reads on from there, "b/" back from there. Where nothing is found both
// come back as they were, which is how clients know that they have seen everything.
Value get_log_events(Exchange& ex) {
  return ex.read([&](store::Connection& c) {
    auto group = log_group_in(ex, c);
    int64_t stream = log_stream_in(c, group, ex.text("logStreamName")).id;
    std::string scope = fmt::format("GetLogEvents {}", stream), token = ex.text("nextToken");
    store::EventQuery query{.streams = {stream}, .backward = !ex.boolean("startFromHead")};
    set_range(ex, query, oldest_kept(c, group), ex.integer("endTime", INT64_MAX));
    store::LogPosition gap{0, stream, 0};
    if (!token.empty()) {
      if (!token.starts_with("f/") && !token.starts_with("b/"))
        throw invalid("The specified nextToken is invalid.");
      gap = position_of(ex.platform.tokens.open(scope, token.substr(2)));
      query.backward = token[0] == 'b';
      if (query.backward)
        query.before = gap;
      else
        query.after = {gap.time, gap.stream, gap.sequence - 1};
    }
    auto found = store::find_log_events(c, query).events;
    store::LogPosition begin = gap, end = gap;
    if (!found.empty()) {
      begin = found.front().position();
      end = found.back().position();
      ++end.sequence;
    }
    Value::Array events;
    for (auto& [id, event] : found)
      events.push_back(Value::object({{"timestamp", event.time},
                                      {"message", std::move(event.message)},
                                      {"ingestionTime", event.ingested}}));
    return Value::object({{"events", std::move(events)},
                          {"nextForwardToken", "f/" + ex.platform.tokens.seal(scope, text_of(end))},
                          {"nextBackwardToken", "b/" + ex.platform.tokens.seal(scope, text_of(begin))}});
  });
}

/// The streams that are searched, by their numbers.
std::map<int64_t, std::string> streams_in(Exchange& ex, store::Connection& c,
                                          const records::Resource& group) {
  std::map<int64_t, std::string> streams;
  bool named = ex.find("logStreamNames"), prefixed = ex.find("logStreamNamePrefix");
  if (named && prefixed)
    throw invalid("logStreamNames and logStreamNamePrefix cannot be specified together.");
  for (const Value& name : ex.list("logStreamNames"))
    streams.emplace(log_stream_in(c, group, *name.string()).id, *name.string());
  if (named) return streams;
  store::StreamQuery query{.prefix = ex.text("logStreamNamePrefix"), .limit = INT64_MAX};
  for (auto& stream : store::list_log_streams(c, group.id, query))
    streams.emplace(stream.id, std::move(stream.name));
  return streams;
}

Value filter_log_events(Exchange& ex) {
  LogPattern pattern(ex.text("filterPattern"));
  int64_t end = ex.integer("endTime", INT64_MAX);
  store::EventQuery query{.literal = pattern.literal()};
  if (!pattern.is_literal())
    query.accepts = [&](std::string_view message) { return pattern.matches(message); };
  return ex.platform.store.database().scan([&](store::Connection& c) {
    auto group = log_group_in(ex, c);
    auto streams = streams_in(ex, c, group);
    for (const auto& [id, name] : streams) query.streams.push_back(id);
    set_range(ex, query, oldest_kept(c, group), end == INT64_MAX ? end : end + 1);
    std::string scope = fmt::format("FilterLogEvents {}", group.id), token = ex.text("nextToken");
    if (!token.empty()) query.after = position_of(ex.platform.tokens.open(scope, token));
    auto found = store::find_log_events(c, query);
    Value::Array events;
    for (auto& [stream, event] : found.events)
      events.push_back(Value::object(
          {{"logStreamName", streams[stream]},
           {"timestamp", event.time},
           {"message", std::move(event.message)},
           {"ingestionTime", event.ingested},
           {"eventId", fmt::format("{:020}{:018}{:018}", event.time, stream, event.sequence)}}));
    Value out = Value::object({{"events", std::move(events)}, {"searchedLogStreams", Value::Array{}}});
    if (found.next) out.set("nextToken", ex.platform.tokens.seal(scope, text_of(*found.next)));
    return out;
  });
}

constexpr Operation kOperations[] = {
    {"PutLogEvents", Role::write, put_log_events},
    {"GetLogEvents", Role::read, get_log_events},
    {"FilterLogEvents", Role::read, filter_log_events},
};

}  // namespace

constexpr Family kLogEvents{"logs", kOperations};

}  // namespace textmill::api
