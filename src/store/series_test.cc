#include "store/series.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "store/schema.h"

namespace textmill::store {
namespace {

struct SeriesTest : testing::Test {
  base::TemporaryFolder folder;
  Database database{{.file = folder.path() / "test.db", .sync = Sync::process}, schema()};

  int64_t enter(const Series& series) {
    return database.write([&](Connection& c) { return enter_series(c, series); });
  }
  void put(int64_t series, int64_t time, int step, const Distribution& values) {
    database.write([&](Connection& c) { put_point(c, series, time, step, values); });
  }
  std::vector<Bin> read(int64_t series, int64_t from, int64_t to, int64_t period) {
    return database.read([&](Connection& c) { return read_series(c, series, from, to, period); });
  }
  std::vector<std::string> names(const SeriesFilter& filter) {
    std::vector<std::string> all;
    database.read([&](Connection& c) {
      for (const Series& s : find_series(c, filter)) all.push_back(s.space + "/" + s.name + "/" + s.unit);
    });
    return all;
  }
};

TEST(Distribution, KnowsItsValues) {
  std::mt19937 random(3);
  for (size_t count : {size_t{1}, size_t{2}, size_t{5}, size_t{99}, size_t{5000}}) {
    std::vector<double> values;
    Distribution d;
    for (size_t i = 0; i < count; ++i) {
      values.push_back(std::exp(std::normal_distribution<>(0, 2)(random)));
      d.merge(Distribution::of(values.back()));
    }
    std::ranges::sort(values);
    d = Distribution::decode(d.count(), d.sum(), d.minimum(), d.maximum(), d.encode_values());
    EXPECT_EQ(d.count(), static_cast<double>(count));
    EXPECT_NEAR(d.sum(), std::accumulate(values.begin(), values.end(), 0.0), 1e-6);
    EXPECT_EQ(d.minimum(), values.front());
    EXPECT_EQ(d.maximum(), values.back());
    double tolerance = count < 100 ? 1e-12 : 0.011;  // the width of a step, half of it either way
    for (double share : {0.0, 0.1, 0.5, 0.9, 0.99, 1.0}) {
      double at = share * static_cast<double>(count - 1);
      size_t low = static_cast<size_t>(at);
      double expected =
          std::lerp(values[low], values[std::min(low + 1, count - 1)], at - static_cast<double>(low));
      EXPECT_NEAR(*d.percentile(share), expected, tolerance * expected) << count << " " << share;
    }
  }
}

TEST(Distribution, ASumHasNoPercentiles) {
  Distribution d = Distribution::of_sum(4, 10, 1, 4);
  EXPECT_FALSE(d.percentile(0.5));
  EXPECT_EQ(d.average(), 2.5);
  EXPECT_EQ(Distribution::of_sum(4, 8, 2, 2).percentile(0.5), 2);
  d.merge(Distribution::of(3, 2));
  EXPECT_EQ(d.count(), 6);
  EXPECT_EQ(d.known(), 2);
  EXPECT_EQ(d.percentile(0.9), 3);
}

TEST(Distribution, TrimsAndRanks) {
  Distribution d;
  for (double v : {1.0, 2.0, 3.0, 4.0}) d.merge(Distribution::of(v));
  EXPECT_EQ(d.between(0.25, 0.75), std::pair(2.0, 5.0));
  EXPECT_EQ(d.within(1, 3), std::pair(2.0, 5.0));
}

TEST_F(SeriesTest, AreFoundByAllTheyHave) {
  Series a{.space = "S", .name = "a", .unit = "None", .dimensions = {{"host", "1"}, {"zone", "x"}}};
  int64_t id = enter(a);
  EXPECT_EQ(enter(a), id);
  Series other = a;
  other.unit = "Count";
  EXPECT_NE(enter(other), id);
  enter({.space = "S", .name = "b", .unit = "None"});
  enter({.space = "T", .name = "a", .unit = "None", .dimensions = {{"host", "2"}}});
  using Names = std::vector<std::string>;
  EXPECT_EQ(names({}), (Names{"S/a/Count", "S/a/None", "S/b/None", "T/a/None"}));
  EXPECT_EQ(names({.space = "S", .name = "a"}), (Names{"S/a/Count", "S/a/None"}));
  EXPECT_EQ(names({.dimensions = Dimensions{}}), Names{"S/b/None"});
  EXPECT_EQ(names({.dimensions = Dimensions{{"host", "1"}}}), Names{});
  EXPECT_EQ(names({.unit = "None", .having = {{"host", std::nullopt}}}), (Names{"S/a/None", "T/a/None"}));
  EXPECT_EQ(names({.having = {{"host", "2"}}}), Names{"T/a/None"});
  EXPECT_EQ(names({.changed_since = 5}), Names{});
  put(id, 100, 60, Distribution::of(1));
  EXPECT_EQ(names({.changed_since = 5}), Names{"S/a/None"});
  EXPECT_EQ(names({.after = place(a), .limit = 1}), Names{"S/b/None"});
}

TEST_F(SeriesTest, BinsBeginAtTheStart) {
  int64_t id = enter({.space = "S", .name = "a", .unit = "None"});
  for (int64_t t = 0; t < 600; t += 20) put(id, t, 60, Distribution::of(static_cast<double>(t)));
  auto bins = read(id, 120, 420, 120);
  ASSERT_EQ(bins.size(), 3u);
  EXPECT_EQ(bins[0].start, 120);
  EXPECT_EQ(bins[0].values.count(), 6);
  EXPECT_EQ(bins[0].values.minimum(), 120);
  EXPECT_EQ(bins[0].values.maximum(), 220);
  EXPECT_EQ(bins[2].start, 360);
  EXPECT_EQ(bins[2].values.count(), 3);
  EXPECT_TRUE(read(id, 0, 600, 1).empty());
}

// Many series, of which none has anything to roll up: looked at once, and not before that is so again.
TEST_F(SeriesTest, IsLeftAloneTillItsValuesAreDue) {
  constexpr int64_t kHour = 3600, kNow = 1'000'000 * kHour;
  auto tend = [&](int64_t now) {
    int calls = 1;
    while (tend_series(database, base::WallTime(std::chrono::seconds(now)))) ++calls;
    return calls;
  };
  auto next = [&] {
    return *database.read([](Connection& c) { return c.integer("SELECT min(tend_at) FROM metric_series"); });
  };
  std::vector<int64_t> ids;
  for (int i = 0; i < 600; ++i)
    ids.push_back(enter({.space = "S", .name = std::to_string(i), .unit = "None"}));
  for (int64_t id : ids) put(id, kNow - 5, 1, Distribution::of(1));
  EXPECT_LE(tend(kNow), 3) << "some hundred are one transaction";
  EXPECT_GE(next(), kNow + 3 * kHour - 60) << "a step of a second is kept for three hours";
  EXPECT_LE(next(), kNow + 3 * kHour + 60);
  put(ids[0], kNow - 20 * 24 * kHour, 60, Distribution::of(1));
  EXPECT_LE(next(), kNow) << "what comes late is due at once";
  tend(kNow);
  EXPECT_EQ(read(ids[0], kNow - 20 * 24 * kHour, kNow - 19 * 24 * kHour, 300).size(), 1u);
  EXPECT_TRUE(read(ids[0], kNow - 20 * 24 * kHour, kNow - 19 * 24 * kHour, 60).empty());
  EXPECT_GE(next(), kNow + kHour);
}

// Two years of values, tended as time goes by: sums stay right at every period that is still kept, and the disk is bounded.
TEST_F(SeriesTest, GrowsCoarseWithAge) {
  constexpr int64_t kDay = 86400, kNow = 800 * kDay;
  int64_t id = enter({.space = "S", .name = "a", .unit = "None"});
  std::mt19937 random(5);
  std::map<int64_t, double> sums;  // by hour
  database.write([&](Connection& c) {
    for (int64_t t = kNow - 500 * kDay; t < kNow; t += 1800 + static_cast<int64_t>(random() % 60)) {
      int step = t > kNow - 4 * 3600 ? 1 : 60;
      put_point(c, id, t, step, Distribution::of(static_cast<double>(t % 97)));
      sums[t / 3600 * 3600] += static_cast<double>(t % 97);
    }
  });
  while (tend_series(database, base::WallTime(std::chrono::seconds(kNow)))) {}
  auto points = [&](int step) {
    return *database.read([&](Connection& c) {
      return c.integer("SELECT count(*) FROM metric_points WHERE step = ? AND series = ?", step, id);
    });
  };
  int64_t coarse = points(3600);
  EXPECT_GT(coarse, (455 - 64) * 24 - 2);
  EXPECT_LT(coarse, (455 - 62) * 24);
  EXPECT_LE(points(1), 3 * 2 + 3);
  auto bins = read(id, kNow - 455 * kDay, kNow, 3600);
  EXPECT_GE(bins.size(), 455u * 24 - 1);
  for (const Bin& bin : bins) EXPECT_EQ(bin.values.sum(), sums[bin.start]) << bin.start;
  EXPECT_TRUE(read(id, kNow - 500 * kDay, kNow - 456 * kDay, 3600).empty());
  EXPECT_TRUE(read(id, kNow - 30 * kDay, kNow - 20 * kDay, 60).empty());
  EXPECT_FALSE(read(id, kNow - 30 * kDay, kNow - 20 * kDay, 300).empty());
  while (tend_series(database, base::WallTime(std::chrono::seconds(kNow + 500 * kDay)))) {}
  EXPECT_EQ(names({}), std::vector<std::string>{});
}

}  // namespace
}  // namespace textmill::store
