#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "base/machine.h"
#include "store/logs.h"

namespace textmill::store {

namespace {

constexpr size_t kWorthThreads = 8, kMostAtOnce = 64;

struct Candidate {
  int64_t id, stream, first, last, sequence, bytes;
};

/// The blocks that may hold events of the range, in the order in which they are to be looked at.
std::vector<Candidate> candidates_of(Connection& connection, const EventQuery& query, int64_t from,
                                     int64_t to) {
  std::vector<Candidate> candidates;
  for (int64_t stream : query.streams) {
    Rows rows = connection.query(
        "SELECT id, stream, first, last, sequence, bytes FROM log_blocks WHERE stream = ? AND first < ? AND "
        "last >= ?",
        stream, to, from);
    while (rows.next())
      candidates.push_back({rows.integer(0), rows.integer(1), rows.integer(2), rows.integer(3),
                            rows.integer(4), rows.integer(5)});
  }
  if (query.backward)
    std::ranges::sort(candidates, std::greater(), &Candidate::last);
  else
    std::ranges::sort(candidates, std::less(), &Candidate::first);
  return candidates;
}

std::vector<FoundEvent> search(const EventQuery& query, const Candidate& candidate, std::string_view data) {
  std::vector<FoundEvent> found;
  LogBlock block(data);
  if (!query.literal.empty() && !block.may_contain(query.literal)) return found;
  for (const LogEventView& event : block.events()) {
    LogPosition position{event.time, candidate.stream, candidate.sequence + event.sequence};
    if (event.time < query.from || event.time >= query.to || (query.after && position <= *query.after) ||
        (query.before && position >= *query.before) ||
        event.message.find(query.literal) == std::string_view::npos ||
        (query.accepts && !query.accepts(event.message)))
      continue;
    found.push_back(
        {candidate.stream, {event.time, event.ingested, position.sequence, std::string(event.message)}});
  }
  return found;
}

/// The same over several blocks, on all cores when there are many.
std::vector<FoundEvent> search(Connection& connection, const EventQuery& query,
                               std::span<const Candidate> candidates) {
  std::vector<std::string> data;
  for (const Candidate& candidate : candidates) {
    Rows rows = connection.query("SELECT data FROM log_blocks WHERE id = ?", candidate.id);
    TEXTMILL_CHECK(rows.next());
    data.emplace_back(rows.text(0));
  }
  std::vector<FoundEvent> found;
  std::mutex mutex;
  std::exception_ptr failure;
  std::atomic<size_t> next = 0;
  auto work = [&] {
    try {
      for (size_t i; (i = next++) < candidates.size();) {
        auto some = search(query, candidates[i], data[i]);
        std::lock_guard lock(mutex);
        std::ranges::move(some, std::back_inserter(found));
      }
    } catch (...) {  // a thread's top: the caller sees it
      std::lock_guard lock(mutex);
      failure = std::current_exception();
    }
  };
  std::vector<std::jthread> helpers;
  if (candidates.size() >= kWorthThreads) {
    static const int cpus = base::usable_cpus();  // reads files
    for (int i = 1; i < cpus; ++i) helpers.emplace_back(work);
  }
  work();
  helpers.clear();
  if (failure) std::rethrow_exception(failure);
  return found;
}

/// How many of those found a page holds: at least one.
size_t page_size(const std::vector<FoundEvent>& found, const EventQuery& query) {
  size_t count = 0, bytes = 0;
  for (; count < std::min(found.size(), query.limit); ++count) {
    bytes += found[count].event.message.size();
    if (count > 0 && bytes > query.max_bytes) break;
  }
  return count;
}

/// The events that a page holds of those found, and where the rest begins.
FoundEvents page_of(std::vector<FoundEvent> found, const EventQuery& query) {
  size_t count = page_size(found, query);
  FoundEvents page;
  if (count < found.size() && count > 0) page.next = found[count - 1].position();
  found.resize(count);
  if (query.backward) std::ranges::reverse(found);
  page.events = std::move(found);
  return page;
}

}  // namespace

FoundEvents find_log_events(Connection& connection, const EventQuery& query) {
  int64_t from = query.after ? std::max(query.from, query.after->time) : query.from;
  int64_t to = query.before ? std::min(query.to, query.before->time + 1) : query.to;
  auto candidates = candidates_of(connection, query, from, to);
  std::vector<FoundEvent> found;  // the nearest ones to the beginning, one more than the page can hold
  uint64_t scanned = 0;
  auto earlier = [&](const FoundEvent& a, const FoundEvent& b) {
    return query.backward ? b.position() < a.position() : a.position() < b.position();
  };
  for (size_t begin = 0, count = 1; begin < candidates.size();
       begin += count, count = std::min(2 * count, kMostAtOnce)) {
    const Candidate& next = candidates[begin];
    // Nothing in the blocks to come stands before these.
    auto settled = [&](const FoundEvent& event) {
      return query.backward ? event.event.time > next.last : event.event.time < next.first;
    };
    if (found.size() > page_size(found, query) && settled(found.back())) break;
    if (scanned > query.max_scan && !query.backward && next.first > std::max(from, candidates[0].first)) {
      std::erase_if(found, [&](const FoundEvent& event) { return !settled(event); });
      FoundEvents page = page_of(std::move(found), query);
      if (!page.next) page.next = LogPosition{next.first - 1, INT64_MAX, INT64_MAX};
      return page;
    }
    auto some = std::span(candidates).subspan(begin, std::min(count, candidates.size() - begin));
    for (const Candidate& candidate : some) scanned += static_cast<uint64_t>(candidate.bytes);
    std::ranges::move(search(connection, query, some), std::back_inserter(found));
    std::ranges::sort(found, earlier);
    found.resize(std::min(found.size(), page_size(found, query) + 1));
  }
  return page_of(std::move(found), query);
}

}  // namespace textmill::store
