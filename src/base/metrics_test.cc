#include "base/metrics.h"

#include <gtest/gtest.h>

#include <limits>
#include <thread>

#include "base/error.h"

namespace textmill::base {
namespace {

TEST(Metrics, exposition) {
  MetricRegistry registry;
  registry.counter("requests_total", "Requests\nby \\code.", {{"code", "200"}, {"path", "a\"b\\c\nd"}})
      .add(3);
  registry.counter("requests_total", "", {{"code", "500"}, {"path", ""}}).add(0.5);
  registry.gauge("depth", "Items waiting.").set(-2);
  Histogram& latency = registry.histogram("latency_seconds", "Time.", {0.1, 1}, {{"op", "x"}});
  for (double v : {0.05, 0.1, 0.5, 7.0}) latency.observe(v);
  EXPECT_EQ(registry.text(),
            "# HELP depth Items waiting.\n"
            "# TYPE depth gauge\n"
            "depth -2\n"
            "# HELP latency_seconds Time.\n"
            "# TYPE latency_seconds histogram\n"
            "latency_seconds_bucket{op=\"x\",le=\"0.1\"} 2\n"
            "latency_seconds_bucket{op=\"x\",le=\"1\"} 3\n"
            "latency_seconds_bucket{op=\"x\",le=\"+Inf\"} 4\n"
            "latency_seconds_sum{op=\"x\"} 7.65\n"
            "latency_seconds_count{op=\"x\"} 4\n"
            "# HELP requests_total Requests\\nby \\\\code.\n"
            "# TYPE requests_total counter\n"
            "requests_total{code=\"200\",path=\"a\\\"b\\\\c\\nd\"} 3\n"
            "requests_total{code=\"500\",path=\"\"} 0.5\n");
}

TEST(Metrics, special_numbers) {
  MetricRegistry registry;
  registry.gauge("a", "").set(std::numeric_limits<double>::infinity());
  registry.gauge("b", "").set(-std::numeric_limits<double>::infinity());
  registry.gauge("c", "").set(std::numeric_limits<double>::quiet_NaN());
  std::string text = registry.text();
  EXPECT_NE(text.find("a +Inf\n"), std::string::npos);
  EXPECT_NE(text.find("b -Inf\n"), std::string::npos);
  EXPECT_NE(text.find("c NaN\n"), std::string::npos);
}

TEST(Metrics, one_name_and_labels_is_one_metric) {
  MetricRegistry registry;
  Counter& first = registry.counter("a", "", {{"x", "1"}, {"y", "2"}});
  EXPECT_EQ(&registry.counter("a", "", {{"y", "2"}, {"x", "1"}}), &first);
  EXPECT_NE(&registry.counter("a", "", {{"x", "1"}}), &first);
  EXPECT_THROW(registry.gauge("a", ""), Error);
  EXPECT_THROW(registry.counter("1a", ""), Error);
  EXPECT_THROW(registry.counter("", ""), Error);
  EXPECT_THROW(registry.counter("b", "", {{"no-name", ""}}), Error);
  EXPECT_EQ(registry.text().find("b"), std::string::npos) << "a refused metric stays out";
}

TEST(Metrics, threads_lose_nothing) {
  MetricRegistry registry;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 10000; ++i) {
          registry.counter("n", "").add();
          registry.histogram("h", "", {1, 2}).observe(2);
        }
      });
    }
  }
  EXPECT_EQ(registry.counter("n", "").value(), 40000);
  EXPECT_EQ(registry.histogram("h", "", {1, 2}).counts(), (std::vector<uint64_t>{0, 40000, 0}));
}

}  // namespace
}  // namespace textmill::base
