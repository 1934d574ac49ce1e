#include "api/metric_math.h"

#include <gtest/gtest.h>

#include <cmath>

#include "api/metric_statistic.h"
#include "base/error.h"

namespace textmill::api {
namespace {

using Points = std::map<int64_t, double>;

/// m1: 1, 2, 4 at 0, 60, 180; m2: 10, 20, 30, 40 at 0 to 180; n1: 5 at 120.
const std::vector<std::pair<std::string, Points>> kMetrics = {
    {"m1", {{0, 1}, {60, 2}, {180, 4}}},
    {"m2", {{0, 10}, {60, 20}, {120, 30}, {180, 40}}},
    {"n1", {{120, 5}}}};

TimeSeries series_of(const std::pair<std::string, Points>& metric) {
  return {.label = metric.first, .period = 60, .points = metric.second};
}

MathValue compute(std::string_view text) {
  MathScope scope{.find = [](std::string_view id) -> MathValue {
                    for (const auto& metric : kMetrics)
                      if (metric.first == id) return series_of(metric);
                    throw base::Error(base::Kind::invalid, "no query");
                  },
                  .metrics =
                      [](std::string_view part) {
                        std::vector<TimeSeries> all;
                        for (const auto& metric : kMetrics)
                          if (metric.first.find(part) != std::string::npos) all.push_back(series_of(metric));
                        return all;
                      },
                  .start = 0,
                  .end = 240,
                  .period = 60};
  return MathExpression(text).evaluate(scope);
}

TEST(MetricMath, Numbers) {
  const std::pair<const char*, double> kCases[] = {{"1 + 2 * 3", 7},
                                                   {"(1 + 2) * 3", 9},
                                                   {"2 ^ 3 ^ 2", 512},
                                                   {"-2 ^ 2", -4},
                                                   {"7 / 2 - 1", 2.5},
                                                   {"10 - 2 - 3", 5},
                                                   {"1 < 2", 1},
                                                   {"2 <= 1", 0},
                                                   {"1 == 1", 1},
                                                   {"1 != 1", 0},
                                                   {"1 > 2 || 3 >= 3", 1},
                                                   {"1 AND 0 OR 1", 1},
                                                   {"1 && 0", 0},
                                                   {".5e1", 5},
                                                   {"--3", 3},
                                                   {"ABS(-3)", 3},
                                                   {"CEIL(1.2)", 2},
                                                   {"FLOOR(-1.2)", -2},
                                                   {"LOG10(100)", 2},
                                                   {"LOG(1)", 0},
                                                   {"SUM(m1)", 7},
                                                   {"AVG(m2)", 25},
                                                   {"MIN(m2)", 10},
                                                   {"MAX(m1)", 4},
                                                   {"STDDEV(n1)", 0},
                                                   {"PERIOD(m1)", 60},
                                                   {"METRIC_COUNT(METRICS())", 3},
                                                   {"METRIC_COUNT(METRICS(\"m\"))", 2},
                                                   {"IF(1, 2, 3)", 2},
                                                   {"METRIC_COUNT(SLICE(METRICS(), 1))", 2},
                                                   {"SUM(m1) / SUM(m2)", 0.07}};
  for (const auto& [text, expected] : kCases) {
    MathValue value = compute(text);
    ASSERT_TRUE(std::holds_alternative<double>(value)) << text;
    EXPECT_DOUBLE_EQ(std::get<double>(value), expected) << text;
  }
}

TEST(MetricMath, Series) {
  const std::pair<const char*, Points> kCases[] = {
      {"m1 + m2", {{0, 11}, {60, 22}, {180, 44}}},
      {"m2 / m1", {{0, 10}, {60, 10}, {180, 10}}},
      {"100 - m1", {{0, 99}, {60, 98}, {180, 96}}},
      {"-m1 * 2", {{0, -2}, {60, -4}, {180, -8}}},
      {"m2 / (m1 - 1)", {{60, 20}, {180, 40. / 3}}},  // no value where it is divided by 0
      {"m1 > 1", {{0, 0}, {60, 1}, {180, 1}}},
      {"FILL(m1, 0)", {{0, 1}, {60, 2}, {120, 0}, {180, 4}}},
      {"FILL(m1, REPEAT)", {{0, 1}, {60, 2}, {120, 2}, {180, 4}}},
      {"FILL(m1, LINEAR)", {{0, 1}, {60, 2}, {120, 3}, {180, 4}}},
      {"FILL(m1, m2)", {{0, 1}, {60, 2}, {120, 30}, {180, 4}}},
      {"FILL(n1, LINEAR)", {{120, 5}}},
      {"FILL(n1, REPEAT)", {{120, 5}, {180, 5}}},
      {"RATE(m2)", {{60, 10. / 60}, {120, 10. / 60}, {180, 10. / 60}}},
      {"DIFF(m1)", {{60, 1}, {180, 2}}},
      {"DIFF_TIME(m1)", {{60, 60}, {180, 120}}},
      {"RUNNING_SUM(m1)", {{0, 1}, {60, 3}, {180, 7}}},
      {"IF(m1 > 1, m2, 0)", {{0, 0}, {60, 20}, {180, 40}}},
      {"IF(m1 > 1, m2)", {{60, 20}, {180, 40}}},
      {"SUM(METRICS())", {{0, 11}, {60, 22}, {120, 35}, {180, 44}}},
      {"AVG([m1, m2])", {{0, 5.5}, {60, 11}, {120, 30}, {180, 22}}},
      {"MAX([m1, n1, 0 * m2])", {{0, 1}, {60, 2}, {120, 5}, {180, 4}}},
      {"FIRST(METRICS())", {{0, 1}, {60, 2}, {180, 4}}},
      {"LAST(METRICS())", {{120, 5}}},
      {"FIRST(SORT(METRICS(), AVG, DESC))", {{0, 10}, {60, 20}, {120, 30}, {180, 40}}},
      {"LAST(SORT(METRICS(), MAX, ASC, 2))", {{120, 5}}},
      {"TIME_SERIES(7)", {{0, 7}, {60, 7}, {120, 7}, {180, 7}}},
      {"CEIL(m1 / 3)", {{0, 1}, {60, 1}, {180, 2}}},
      {"LOG(m1 - 1)", {{60, 0}, {180, std::log(3)}}},
  };
  for (const auto& [text, expected] : kCases) {
    MathValue value = compute(text);
    ASSERT_TRUE(std::holds_alternative<TimeSeries>(value)) << text;
    const Points& points = std::get<TimeSeries>(value).points;
    ASSERT_EQ(points.size(), expected.size()) << text;
    for (const auto& [time, v] : expected) EXPECT_NEAR(points.at(time), v, 1e-12) << text << " at " << time;
  }
}

TEST(MetricMath, Arrays) {
  const std::pair<const char*, std::vector<double>> kSums[] = {{"METRICS() * 2", {14, 200, 10}},
                                                               {"10 - METRICS(\"n\")", {5}},
                                                               {"METRICS() + m1", {14, 77}},
                                                               {"SLICE(METRICS(), 0, 2)", {7, 100}},
                                                               {"SORT(METRICS(), SUM, ASC)", {5, 7, 100}},
                                                               {"RUNNING_SUM(METRICS())", {11, 200, 5}}};
  for (const auto& [text, sums] : kSums) {
    MathValue value = compute(std::string("REMOVE_EMPTY(") + text + ")");
    std::vector<double> found;
    for (const TimeSeries& series : std::get<std::vector<TimeSeries>>(value)) {
      found.push_back(0);
      for (const auto& [time, v] : series.points) found.back() += v;
    }
    EXPECT_EQ(found, sums) << text;
  }
}

TEST(MetricMath, WhatIsWrongIsSaid) {
  const std::pair<const char*, const char*> kCases[] = {
      {"", "at 1: expected a number"},
      {"1 +", "at 4: expected a number"},
      {"(1", "expected ')'"},
      {"1 2", "at 3: expected an operator"},
      {"SUM(m1", "expected ')'"},
      {"SUM([m1)", "expected ']'"},
      {"SUM()", "SUM takes 1 to 1 arguments, not 0"},
      {"SEARCH('{a}', 'Sum', 60)", "SEARCH is not served here"},
      {"ANOMALY_DETECTION_BAND(m1)", "is not served here"},
      {"list(m1)", "is not served here"},
      {"METRICS(m1)", "text in quotes"},
      {"\"x\" + 1", "has no value"},
      {"'open", "closing quote"},
      {"RATE(1)", "must be a time series"},
      {"FIRST(1)", "array of time series"},
      {"METRICS() + METRICS()", "cannot be combined"},
      {"SORT(METRICS(), MEDIAN, ASC)", "must be AVG, MAX, MIN or SUM"},
      {"SORT(METRICS(), SUM, UP)", "must be ASC or DESC"},
      {"FILL(m1, METRICS())", "must be a number, a time series, REPEAT or LINEAR"},
      {"IF(METRICS(), 1, 2)", "must be numbers or time series"},
      {"m9", "no query"},
      {"1..2", "expected"},
  };
  for (const auto& [text, says] : kCases) {
    try {
      compute(text);
      ADD_FAILURE() << text << " was accepted";
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), base::Kind::invalid);
      EXPECT_NE(std::string(error.what()).find(says), std::string::npos) << text << ": " << error.what();
    }
  }
  EXPECT_THROW(compute(std::string(2000, '(')), base::Error);
  EXPECT_THROW(compute(std::string(2000, '-') + "1"), base::Error);
  EXPECT_NO_THROW(compute(std::string(44, '-') + "m1"));  // each argument is computed once
}

TEST(MetricStatistic, SaysWhatIsAsked) {
  store::Distribution d;
  for (double v = 1; v <= 100; ++v) d.merge(store::Distribution::of(v));
  const std::pair<const char*, double> kCases[] = {
      {"SampleCount", 100}, {"Sum", 5050},         {"Average", 50.5}, {"Minimum", 1},
      {"Maximum", 100},     {"p50", 50.5},         {"p100", 100},     {"p99.9", 99.901},
      {"tm90", 45.5},       {"TM(10%:90%)", 50.5}, {"tc25", 25},      {"ts10", 55},
      {"TC(:10)", 10},      {"TS(98:)", 199},      {"PR(50:75)", 25}, {"IQM", 50.5}};
  for (const auto& [text, expected] : kCases) EXPECT_NEAR(*parse_statistic(text)(d), expected, 1e-9) << text;
  store::Distribution sums = store::Distribution::of_sum(3, 6, 1, 3);
  for (const char* text : {"p50", "tm50", "TC(:2)", "PR(:2)"})
    EXPECT_FALSE(parse_statistic(text)(sums)) << text;
  for (const char* text : {"", "Median", "p", "p101", "p-1", "pp9", "TM()", "TM(:)", "TM(9:1)", "TM(1:50%)",
                           "TM(0%:101%)", "PR(1%:2%)", "WM(1:2)"})
    EXPECT_THROW(parse_statistic(text), base::Error) << text;
}

}  // namespace
}  // namespace textmill::api
