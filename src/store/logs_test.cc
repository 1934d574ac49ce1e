#include "store/logs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/error.h"
#include "store/schema.h"

namespace textmill::store {
namespace {

struct LogsTest : testing::Test {
  base::TemporaryFolder folder;
  Database database{{.file = folder.path() / "test.db", .sync = Sync::process}, schema()};

  int64_t stream(const std::string& name, int64_t group = 1) {
    return database.write([&](Connection& c) {
      create_log_stream(c, group, name);
      return find_log_stream(c, group, name)->id;
    });
  }
  void put(int64_t stream, std::vector<LogEvent> events) {
    LogBatch batch(std::move(events));
    database.write([&](Connection& c) { batch.append_to(c, stream); });
  }
  FoundEvents find(const EventQuery& query) {
    return database.read([&](Connection& c) { return find_log_events(c, query); });
  }
  std::vector<std::string> messages(const EventQuery& query) {
    std::vector<std::string> all;
    for (const auto& found : find(query).events) all.push_back(found.event.message);
    return all;
  }
  int64_t blocks() {
    return database.read([](Connection& c) { return *c.integer("SELECT count(*) FROM log_blocks"); });
  }
};

TEST(LogBlock, KeepsEvents) {
  std::mt19937_64 random(1);
  for (size_t count : {size_t{1}, size_t{3}, size_t{1000}}) {
    std::vector<LogEvent> events;
    for (size_t i = 0; i < count; ++i)
      events.push_back({static_cast<int64_t>(random()), static_cast<int64_t>(random() % 100) - 50,
                        static_cast<int64_t>(i), std::string(random() % 50, static_cast<char>(random()))});
    std::string encoded = encode_log_block(events);
    LogBlock block(encoded);
    auto views = block.events();
    ASSERT_EQ(views.size(), count);
    for (size_t i = 0; i < count; ++i) {
      EXPECT_EQ(views[i].time, events[i].time);
      EXPECT_EQ(views[i].ingested, events[i].ingested);
      EXPECT_EQ(views[i].sequence, events[i].sequence);
      EXPECT_EQ(views[i].message, events[i].message);
    }
  }
}

TEST(LogBlock, RefusesDamage) {
  std::string encoded = encode_log_block(std::vector<LogEvent>{{1, 2, 3, "some words"}, {4, 5, 6, ""}});
  for (size_t i = 0; i < encoded.size(); ++i)
    EXPECT_THROW(LogBlock(encoded.substr(0, i)).events(), base::Error) << i;
  std::string newer = encoded;
  newer[0] = 9;
  EXPECT_THROW(LogBlock{newer}, base::Error);
}

TEST_F(LogsTest, StreamsAreListedAndCounted) {
  for (std::string name : {"b", "a/1", "a/2", "c"}) stream(name);
  stream("other group", 2);
  EXPECT_THROW(stream("b"), base::Error);
  auto names = [&](const StreamQuery& query) {
    std::vector<std::string> all;
    for (const auto& s : database.read([&](Connection& c) { return list_log_streams(c, 1, query); }))
      all.push_back(s.name);
    return all;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(names({}), (Names{"a/1", "a/2", "b", "c"}));
  EXPECT_EQ(names({.prefix = "a/"}), (Names{"a/1", "a/2"}));
  EXPECT_EQ(names({.descending = true, .limit = 2}), (Names{"c", "b"}));
  EXPECT_EQ(names({.descending = true, .limit = 2, .after = "b"}), (Names{"a/2", "a/1"}));
  auto b = database.read([](Connection& c) { return *find_log_stream(c, 1, "b"); });
  put(b.id, {{100, 900, 0, "one"}, {200, 900, 0, "two"}});
  put(b.id, {{50, 901, 0, "late"}});
  b = database.read([](Connection& c) { return *find_log_stream(c, 1, "b"); });
  EXPECT_EQ(b.first_event, 50);
  EXPECT_EQ(b.last_event, 200);
  EXPECT_EQ(b.last_ingestion, 901);
  EXPECT_EQ(b.events, 3);
  EXPECT_EQ(b.bytes, 10u);
  EXPECT_EQ(names({.by_last_event = true, .descending = true, .limit = 1}), Names{"b"});
  EXPECT_EQ(names({.by_last_event = true, .descending = true, .limit = 1, .skip = 1}), Names{"c"});
}

// Random batches in two streams, every kind of query, before and after merging: all as a sorted list says.
TEST_F(LogsTest, FindsAsTheSlowWay) {
  std::mt19937_64 random(7);
  int64_t streams[] = {stream("a"), stream("b"), stream("c")};
  std::vector<FoundEvent> all;
  int64_t sequences[3] = {};
  for (int batch = 0; batch < 60; ++batch) {
    size_t which = random() % 2;
    std::vector<LogEvent> events;
    int64_t time = static_cast<int64_t>(random() % 1000);
    for (size_t i = 0; i < 1 + random() % 8; ++i) {
      time += static_cast<int64_t>(random() % 3);
      events.push_back({time, 5000, 0, "m" + std::to_string(random() % 30)});
    }
    put(streams[which], events);
    for (auto& event : events) {
      event.sequence = sequences[which]++;
      all.push_back({streams[which], event});
    }
  }
  std::ranges::sort(all, {}, &FoundEvent::position);
  auto check = [&] {
    for (int round = 0; round < 400; ++round) {
      EventQuery query{.streams = {streams[0], streams[1], streams[2]}};
      if (random() % 3 == 0) query.streams = {streams[random() % 3]};
      if (random() % 2) query.from = static_cast<int64_t>(random() % 1000);
      if (random() % 2) query.to = static_cast<int64_t>(random() % 1200);
      if (random() % 2) query.after = all[random() % all.size()].position();
      if (random() % 2) query.before = all[random() % all.size()].position();
      if (random() % 2) query.literal = "m1";
      if (random() % 2) query.accepts = [](std::string_view message) { return message.ends_with('2'); };
      query.backward = random() % 2;
      query.limit = 1 + random() % 50;
      std::vector<FoundEvent> expected;
      for (const auto& found : all)
        if (std::ranges::count(query.streams, found.stream) && found.event.time >= query.from &&
            found.event.time < query.to && (!query.after || found.position() > *query.after) &&
            (!query.before || found.position() < *query.before) &&
            found.event.message.find(query.literal) != std::string::npos &&
            (!query.accepts || query.accepts(found.event.message)))
          expected.push_back(found);
      bool more = expected.size() > query.limit;
      if (more && query.backward)
        expected.erase(expected.begin(), expected.end() - static_cast<ptrdiff_t>(query.limit));
      if (more && !query.backward) expected.resize(query.limit);
      auto page = find(query);
      ASSERT_EQ(page.events.size(), expected.size());
      for (size_t i = 0; i < expected.size(); ++i) {
        EXPECT_EQ(page.events[i].position(), expected[i].position());
        EXPECT_EQ(page.events[i].event.message, expected[i].event.message);
      }
      EXPECT_EQ(page.next.has_value(), more);
    }
  };
  check();
  EXPECT_EQ(blocks(), 60);
  while (tend_logs(database, base::wall_now())) {}
  EXPECT_LT(blocks(), 10);
  check();
}

TEST_F(LogsTest, PagesByBytesAndByWork) {
  int64_t id = stream("a");
  for (int64_t i = 0; i < 40; ++i) put(id, {{i, 0, 0, std::string(1000, 'x') + std::to_string(i)}});
  EXPECT_EQ(find({.streams = {id}, .max_bytes = 3500}).events.size(), 3u);
  int looked_at = 0;
  auto count = [&](std::string_view) { return ++looked_at > 0; };
  EXPECT_EQ(find({.streams = {id}, .max_bytes = 1, .accepts = count}).events.size(), 1u);
  EXPECT_LT(looked_at, 10) << "the rest stays on the disk";
  EventQuery query{.streams = {id}, .max_scan = 5000, .literal = "39"};
  std::vector<std::string> found;
  int pages = 0;
  do {
    auto page = find(query);
    for (const auto& event : page.events) found.push_back(event.event.message.substr(1000));
    query.after = page.next;
    ++pages;
  } while (query.after);
  EXPECT_EQ(found, std::vector<std::string>{"39"});
  EXPECT_GT(pages, 1);
}

TEST_F(LogsTest, RetentionDeletes) {
  constexpr int64_t kDay = 86'400'000;
  int64_t id = stream("a"), other = stream("b", 2);
  for (int64_t day = 0; day < 10; ++day)
    for (int64_t target : {id, other}) put(target, {{day * kDay, 0, 0, "day " + std::to_string(day)}});
  database.write([](Connection& c) { set_log_retention(c, 1, 3); });
  while (tend_logs(database, base::WallTime(std::chrono::hours(24 * 10)))) {}
  EXPECT_EQ(messages({.streams = {id}}), (std::vector<std::string>{"day 7", "day 8", "day 9"}));
  EXPECT_EQ(messages({.streams = {other}}).size(), 10u);
  auto a = database.read([](Connection& c) { return *find_log_stream(c, 1, "a"); });
  EXPECT_EQ(a.first_event, 7 * kDay);
  EXPECT_EQ(a.bytes, 15u);
  EXPECT_EQ(database.read([](Connection& c) { return log_retention(c, 1); }), 3);
}

TEST_F(LogsTest, ADeletedStreamIsGone) {
  int64_t id = stream("a");
  for (int i = 0; i < 600; ++i) put(id, {{i, 0, 0, "x"}});
  database.write([](Connection& c) { delete_log_streams(c, 1); });
  EXPECT_FALSE(database.read([](Connection& c) { return find_log_stream(c, 1, "a"); }));
  int64_t again = stream("a");
  EXPECT_NE(again, id);
  put(again, {{1, 0, 0, "new"}});
  while (tend_logs(database, base::wall_now())) {}
  EXPECT_EQ(blocks(), 1);
  EXPECT_EQ(messages({.streams = {again}}), std::vector<std::string>{"new"});
}

}  // namespace
}  // namespace textmill::store
