#include "api/cloudwatch.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "api/metric_statistic.h"

// Metrics in and out; their series are the store's. metric_data.cc has GetMetricData.

namespace textmill::api {

namespace {

constexpr int64_t kHour = 3600, kDay = 24 * kHour;
constexpr size_t kMostData = 1000, kMostValues = 150, kMostListed = 500;
constexpr int64_t kMostDatapoints = 1440;
const double kLargest = std::ldexp(1.0, 360);

base::Error invalid(const std::string& message) { return {base::Kind::invalid, message}; }
base::Error mismatch(const std::string& message) { return {base::Kind::conflict, message}; }
wire::Fault missing(const std::string& message) { return {"MissingParameter", 400, message}; }

int64_t now_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(base::wall_now().time_since_epoch()).count();
}

void check_name(std::string_view name, std::string_view where) {
  if (std::ranges::any_of(name, [](char c) { return c >= 0 && c < ' '; }))
    throw invalid(fmt::format("The parameter {} must not contain control characters.", where));
}

}  // namespace

int64_t seconds_in(const Value& structure, std::string_view member) {
  return static_cast<int64_t>(std::floor(*structure.find(member)->real()));
}

store::Dimensions dimensions_in(const Value& structure) {
  store::Dimensions dimensions;
  const Value* list = structure.find("Dimensions");
  if (!list) return dimensions;
  for (const Value& dimension : *list->array()) {
    std::string name = text_in(dimension, "Name");
    check_name(name, "Dimensions");
    check_name(text_in(dimension, "Value"), "Dimensions");
    if (!dimensions.emplace(name, text_in(dimension, "Value")).second)
      throw invalid(fmt::format("The dimension {} is given twice.", name));
  }
  return dimensions;
}

Value dimension_list(const store::Dimensions& dimensions) {
  Value::Array list;
  for (const auto& [name, value] : dimensions)
    list.push_back(Value::object({{"Name", name}, {"Value", value}}));
  return list;
}

MetricRange metric_range(Exchange& ex, int64_t period) {
  if (period % 60 != 0 && period != 1 && period != 5 && period != 10 && period != 20 && period != 30)
    throw invalid("The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60.");
  MetricRange range{seconds_in(ex.input, "StartTime"), seconds_in(ex.input, "EndTime"), period};
  if (range.start >= range.end)
    throw invalid("The parameter StartTime must be less than the parameter EndTime.");
  int64_t age = now_seconds() - range.start;
  int64_t step = age <= 3 * kHour   ? std::min<int64_t>(period, 60)
                 : age <= 15 * kDay ? 60
                 : age <= 63 * kDay ? 300
                                    : kHour;
  range.start -= range.start % step;
  return range;
}

namespace {

double number(const Value& structure, std::string_view member, const std::string& where) {
  double value = *structure.find(member)->real();
  if (!std::isfinite(value) || std::fabs(value) > kLargest)
    throw invalid(fmt::format("The value {} for parameter {}.{} is invalid.", value, where, member));
  return value;
}

store::Distribution from_set(const Value& set, const std::string& where) {
  double count = number(set, "SampleCount", where), sum = number(set, "Sum", where),
         low = number(set, "Minimum", where), high = number(set, "Maximum", where);
  if (count <= 0) throw invalid(fmt::format("The parameter {}.SampleCount must be greater than 0.", where));
  if (low > high)
    throw invalid(fmt::format("The parameter {0}.Maximum must be greater than {0}.Minimum.", where));
  return store::Distribution::of_sum(count, sum, low, high);
}

store::Distribution from_values(const Value& datum, const std::string& where) {
  const auto& values = *datum.find("Values")->array();
  const Value* counts = datum.find("Counts");
  if (values.empty() || values.size() > kMostValues)
    throw invalid(fmt::format("The parameter {}.Values must have 1 to {} values.", where, kMostValues));
  if (counts && counts->array()->size() != values.size())
    throw invalid(fmt::format("The parameters {0}.Values and {0}.Counts must have the same size.", where));
  store::Distribution all;
  for (size_t i = 0; i < values.size(); ++i) {
    double value = *values[i].real(), count = counts ? *(*counts->array())[i].real() : 1;
    if (!std::isfinite(value) || std::fabs(value) > kLargest || !std::isfinite(count) || count <= 0)
      throw invalid(
          fmt::format("The value {} (count {}) for parameter {}.Values is invalid.", value, count, where));
    all.merge(store::Distribution::of(value, count));
  }
  return all;
}

store::Distribution values_in(const Value& datum, const std::string& where) {
  std::vector<std::string_view> given;
  for (std::string_view member : {"Value", "Values", "StatisticValues"})
    if (datum.find(member)) given.push_back(member);
  if (given.empty())
    throw missing(fmt::format("One of {0}.Value, {0}.Values and {0}.StatisticValues is needed.", where));
  if (given.size() > 1)
    throw mismatch(
        fmt::format("The parameters {0}.{1} and {0}.{2} are mutually exclusive and you have specified both.",
                    where, given[0], given[1]));
  if (given[0] == "Value") return store::Distribution::of(number(datum, "Value", where));
  if (given[0] == "Values") return from_values(datum, where);
  return from_set(*datum.find("StatisticValues"), where + ".StatisticValues");
}

/// A datum, checked, ready to be stored.
struct Datum {
  store::Series series;
  int64_t time;
  int step;
  store::Distribution values;
};

Datum datum_in(const std::string& space, const Value& datum, const std::string& where) {
  int64_t now = now_seconds(), time = datum.find("Timestamp") ? seconds_in(datum, "Timestamp") : now;
  if (time < now - 14 * kDay)
    throw invalid(fmt::format(
        "The parameter {}.Timestamp must specify a time no more than two weeks in the past.", where));
  if (time > now + 2 * kHour)
    throw invalid(
        fmt::format("The parameter {}.Timestamp must specify a time within the next two hours.", where));
  const Value* resolution = datum.find("StorageResolution");
  int step = resolution ? static_cast<int>(*resolution->integer()) : 60;
  if (step != 1 && step != 60)
    throw invalid(
        fmt::format("The value {} for parameter {}.StorageResolution is invalid: 1 or 60.", step, where));
  std::string name = text_in(datum, "MetricName");
  check_name(name, where + ".MetricName");
  // Not one nested initializer: GCC 12 destroys its inner members twice when an outer one throws.
  Datum out;
  out.series.space = space;
  out.series.name = name;
  out.series.unit = text_in(datum, "Unit", "None");
  out.series.dimensions = dimensions_in(datum);
  out.time = time;
  out.step = step;
  out.values = values_in(datum, where);
  return out;
}

Value put_metric_data(Exchange& ex) {
  std::string space = ex.text("Namespace");
  check_name(space, "Namespace");
  if (space.starts_with("AWS/")) throw invalid("The value AWS/ for parameter Namespace is invalid.");
  std::vector<Datum> data;
  auto read = [&](const Value::Array& list, const std::string& where) {
    for (size_t i = 0; i < list.size(); ++i)
      data.push_back(datum_in(space, list[i], fmt::format("{}.member.{}", where, i + 1)));
  };
  read(ex.list("MetricData"), "MetricData");
  for (const Value& entity : ex.list("EntityMetricData"))
    if (const Value* list = entity.find("MetricData"))
      read(*list->array(), "EntityMetricData.member.MetricData");
  if (data.empty()) throw missing("The parameter MetricData is required.");
  if (data.size() > kMostData)
    throw invalid(fmt::format("The collection MetricData must not have a size greater than {}.", kMostData));
  ex.write([&](store::Connection& c) {
    for (const Datum& datum : data)
      store::put_point(c, store::enter_series(c, datum.series), datum.time, datum.step, datum.values);
  });
  return {};
}

Value get_metric_statistics(Exchange& ex) {
  MetricRange range = metric_range(ex, ex.integer("Period", 60));
  if (range.periods() > kMostDatapoints)
    throw mismatch(fmt::format(
        "You have requested up to {} datapoints, which exceeds the limit of {}. You may reduce the "
        "datapoints requested by increasing Period, or decreasing the time range.",
        range.periods(), kMostDatapoints));
  if (ex.list("Statistics").empty() && ex.list("ExtendedStatistics").empty())
    throw missing("At least one of the parameters Statistics and ExtendedStatistics must be specified.");
  std::vector<std::pair<std::string, Statistic>> statistics, extended;
  for (const Value& name : ex.list("Statistics"))
    statistics.emplace_back(*name.string(), parse_statistic(*name.string()));
  for (const Value& name : ex.list("ExtendedStatistics"))
    extended.emplace_back(*name.string(), parse_statistic(*name.string()));
  store::SeriesFilter filter{
      .space = ex.text("Namespace"), .name = ex.text("MetricName"), .dimensions = dimensions_in(ex.input)};
  if (ex.find("Unit")) filter.unit = ex.text("Unit");
  Value::Array points;
  ex.read([&](store::Connection& c) {
    for (const store::Series& series : store::find_series(c, filter))
      for (const auto& [start, values] :
           store::read_series(c, series.id, range.start, range.end, range.period)) {
        Value point = Value::object({{"Timestamp", static_cast<double>(start)}, {"Unit", series.unit}});
        for (const auto& [name, statistic] : statistics) point.set(name, *statistic(values));
        Value more = Value::object({});
        for (const auto& [name, statistic] : extended)
          if (auto value = statistic(values)) more.set(name, *value);
        if (!more.object()->empty())
          point.set("ExtendedStatistics", std::move(more));
        else if (statistics.empty())
          continue;
        points.push_back(std::move(point));
      }
  });
  return Value::object({{"Label", ex.text("MetricName")}, {"Datapoints", std::move(points)}});
}

Value list_metrics(Exchange& ex) {
  store::SeriesFilter filter{.limit = kMostListed + 1};
  if (ex.find("Namespace")) filter.space = ex.text("Namespace");
  if (ex.find("MetricName")) filter.name = ex.text("MetricName");
  for (const Value& dimension : ex.list("Dimensions")) {
    const Value* value = dimension.find("Value");
    filter.having.emplace_back(text_in(dimension, "Name"),
                               value ? std::optional(*value->string()) : std::nullopt);
  }
  filter.changed_since = now_seconds() - (ex.find("RecentlyActive") ? 3 * kHour : 14 * kDay);
  if (std::string token = ex.text("NextToken"); !token.empty())
    filter.after = ex.platform.tokens.open("ListMetrics", token);
  auto found = ex.read([&](store::Connection& c) { return store::find_series(c, filter); });
  Value out = Value::object({});
  if (found.size() > kMostListed) {
    found.pop_back();
    store::Series last = found.back();
    last.unit.assign(1, '\x7f');  // the others of that metric are the same metric
    out.set("NextToken", ex.platform.tokens.seal("ListMetrics", store::place(last)));
  }
  // Series of one metric in several units stand together.
  auto [first, end] = std::ranges::unique(found, [](const store::Series& a, const store::Series& b) {
    return a.space == b.space && a.name == b.name && a.dimensions == b.dimensions;
  });
  found.erase(first, end);
  Value::Array metrics;
  for (const store::Series& series : found)
    metrics.push_back(Value::object({{"Namespace", series.space},
                                     {"MetricName", series.name},
                                     {"Dimensions", dimension_list(series.dimensions)}}));
  out.set("Metrics", std::move(metrics));
  return out;
}

constexpr Operation kOperations[] = {
    {"PutMetricData", Role::write, put_metric_data},
    {"GetMetricStatistics", Role::read, get_metric_statistics},
    {"ListMetrics", Role::read, list_metrics},
};

}  // namespace

constexpr Family kCloudwatch{"cloudwatch", kOperations};

}  // namespace textmill::api
