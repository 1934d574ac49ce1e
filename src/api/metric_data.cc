#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/cloudwatch.h"
#include "api/metric_math.h"
#include "api/metric_statistic.h"

namespace textmill::api {

namespace {

constexpr size_t kMostQueries = 500;
constexpr int64_t kMostDatapoints = 100'800;
constexpr int64_t kMostPeriods =
    1'000'000;  // of all queries, whether there are values or not; and of values made
constexpr std::string_view kScope = "GetMetricData";

wire::Fault wrong(const std::string& what) { return {"ValidationError", 400, what}; }

/// One query of the request: a metric's statistic, or an expression over others.
struct Query {
  std::string id, label;
  bool returned = true;
  const Value* metric = nullptr;  // MetricStat
  std::optional<MathExpression> expression;
  int64_t period = 60;
};

std::vector<Query> queries_in(Exchange& ex) {
  const auto& list = ex.list("MetricDataQueries");
  if (list.empty() || list.size() > kMostQueries)
    throw wrong(fmt::format("The collection MetricDataQueries must have 1 to {} members.", kMostQueries));
  std::vector<Query> queries;
  std::set<std::string> ids;
  for (const Value& entry : list) {
    Query query{
        .id = text_in(entry, "Id"), .label = text_in(entry, "Label"), .metric = entry.find("MetricStat")};
    bool lower = 'a' <= query.id[0] && query.id[0] <= 'z';
    if (!lower || query.id.find_first_not_of(
                      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != std::string::npos)
      throw wrong(fmt::format(
          "The value {} for parameter Id is not matching the expected pattern ^[a-z][a-zA-Z0-9_]*$.",
          query.id));
    if (!ids.insert(query.id).second)
      throw wrong(
          fmt::format("The values for parameter id in MetricDataQueries are not unique: {}.", query.id));
    if (const Value* returned = entry.find("ReturnData")) query.returned = *returned->boolean();
    const Value* expression = entry.find("Expression");
    if (!query.metric == !expression)
      throw wrong(fmt::format("The query {} needs either a MetricStat or an Expression.", query.id));
    if (expression) query.expression.emplace(*expression->string());
    if (const Value* period = (query.metric ? *query.metric : entry).find("Period"))
      query.period = *period->integer();
    queries.push_back(std::move(query));
  }
  if (std::ranges::none_of(queries, &Query::returned))
    throw wrong("At least one query must have ReturnData true.");
  return queries;
}

int64_t points_of(const MathValue& value) {
  if (auto series = std::get_if<TimeSeries>(&value)) return std::ssize(series->points);
  int64_t points = 0;
  if (auto several = std::get_if<std::vector<TimeSeries>>(&value))
    for (const TimeSeries& each : *several) points += std::ssize(each.points);
  return points;
}

/// Answers the queries of one request; each is computed once, when it is first asked for.
class Evaluation {
 public:
  Evaluation(Exchange& ex, store::Connection& connection, const std::vector<Query>& queries)
      : ex_(ex), connection_(connection), queries_(queries) {
    // Expressions go in the steps of the coarsest metric.
    for (const Query& query : queries)
      if (query.metric) period_ = std::max(period_, query.period);
  }

  const MathValue& value(const Query& query) {
    auto [entry, fresh] = values_.try_emplace(query.id);
    if (!fresh) {
      if (!entry->second) throw wrong(fmt::format("The expression {} refers to itself.", query.id));
      return *entry->second;
    }
    const MathValue& made =
        entry->second.emplace(query.metric ? MathValue(metric(query)) : expression(query));
    points_ += points_of(made);
    if (points_ > kMostPeriods)
      throw wrong(fmt::format("The queries up to {} make {} datapoints, which exceeds the limit of {}.",
                              query.id, points_, kMostPeriods));
    return made;
  }

 private:
  TimeSeries metric(const Query& query) {
    const Value& metric = *query.metric->find("Metric");
    MetricRange range = metric_range(ex_, query.period);
    Statistic statistic = parse_statistic(text_in(*query.metric, "Stat"));
    TimeSeries out{.label = text_in(metric, "MetricName"), .period = query.period, .points = {}};
    store::SeriesFilter filter{
        .space = text_in(metric, "Namespace"), .name = out.label, .dimensions = dimensions_in(metric)};
    if (query.metric->find("Unit")) filter.unit = text_in(*query.metric, "Unit");
    // Several units: the first that has something to say.
    for (const store::Series& series : store::find_series(connection_, filter)) {
      for (const auto& [start, values] :
           store::read_series(connection_, series.id, range.start, range.end, range.period))
        if (auto value = statistic(values)) out.points[start] = *value;
      if (!out.points.empty()) break;
    }
    return out;
  }

  MathValue expression(const Query& query) {
    MetricRange range = metric_range(ex_, std::max(period_, query.period));
    return query.expression->evaluate({.find = [&](std::string_view id) { return named(id); },
                                       .metrics = [&](std::string_view part) { return metrics(part); },
                                       .start = range.start,
                                       .end = range.end,
                                       .period = range.period});
  }

  MathValue named(std::string_view id) {
    auto found = std::ranges::find(queries_, id, &Query::id);
    if (found == queries_.end())
      throw wrong(fmt::format("Error in expression: there is no query with the id {}.", id));
    return value(*found);
  }

  std::vector<TimeSeries> metrics(std::string_view part) {
    std::vector<TimeSeries> all;
    for (const Query& query : queries_)
      if (query.metric && query.id.find(part) != std::string::npos)
        all.push_back(std::get<TimeSeries>(value(query)));
    return all;
  }

  Exchange& ex_;
  store::Connection& connection_;
  const std::vector<Query>& queries_;
  int64_t period_ = 1, points_ = 0;
  std::map<std::string, std::optional<MathValue>> values_;
};

struct Result {
  std::string id, label;
  std::vector<std::pair<int64_t, double>> points;
};

std::vector<Result> results_of(Exchange& ex, const std::vector<Query>& queries) {
  bool ascending = ex.text("ScanBy") == "TimestampAscending";
  std::vector<Result> results;
  ex.read([&](store::Connection& c) {
    Evaluation evaluation(ex, c, queries);
    for (const Query& query : queries) {
      if (!query.returned) continue;
      auto add = [&](const TimeSeries& series, std::string label) {
        Result result{query.id, std::move(label), {series.points.begin(), series.points.end()}};
        if (!ascending) std::ranges::reverse(result.points);
        results.push_back(std::move(result));
      };
      const MathValue& value = evaluation.value(query);
      if (auto series = std::get_if<TimeSeries>(&value)) {
        add(*series, !query.label.empty() ? query.label : query.metric ? series->label : query.id);
      } else if (auto several = std::get_if<std::vector<TimeSeries>>(&value)) {
        for (const TimeSeries& each : *several)
          add(each, query.label.empty() ? each.label : query.label + " " + each.label);
      } else {
        throw wrong(fmt::format(
            "The expression {} is a number; a time series is needed, such as TIME_SERIES makes.", query.id));
      }
    }
  });
  return results;
}

Value shown(const Result& result, size_t begin, size_t end) {
  Value::Array times, values;
  for (size_t i = begin; i < end; ++i) {
    times.emplace_back(static_cast<double>(result.points[i].first));
    values.emplace_back(result.points[i].second);
  }
  return Value::object({{"Id", result.id},
                        {"Label", result.label},
                        {"Timestamps", std::move(times)},
                        {"Values", std::move(values)},
                        {"StatusCode", end < result.points.size() ? "PartialData" : "Complete"}});
}

/// "RESULT POINT": where a page begins.
std::pair<size_t, size_t> page_in(Exchange& ex) {
  std::string token = ex.text("NextToken");
  if (token.empty()) return {0, 0};
  auto payload = ex.platform.tokens.open_if_ours(kScope, token);
  if (!payload) throw wire::Fault("InvalidNextToken", 400, "The next token specified is invalid.");
  size_t space = payload->find(' ');
  return {std::stoul(payload->substr(0, space)), std::stoul(payload->substr(space + 1))};
}

Value get_metric_data(Exchange& ex) {
  auto queries = queries_in(ex);
  int64_t left = ex.integer("MaxDatapoints", kMostDatapoints);
  if (left < 1 || left > kMostDatapoints)
    throw wrong(fmt::format("The parameter MaxDatapoints must be from 1 to {}.", kMostDatapoints));
  int64_t periods = 0;
  for (const Query& query : queries) periods += metric_range(ex, query.period).periods();
  if (periods > kMostPeriods)
    throw wrong(
        fmt::format("All queries together ask for up to {} datapoints, which exceeds the limit of {}.",
                    periods, kMostPeriods));
  auto [index, begin] = page_in(ex);
  auto results = results_of(ex, queries);
  Value out = Value::object({});
  Value::Array list;
  for (; index < results.size(); ++index, begin = 0) {
    size_t size = results[index].points.size();
    begin = std::min(begin, size);
    size_t end = std::min(size, begin + static_cast<size_t>(left));
    if (end > begin || size == 0) list.push_back(shown(results[index], begin, end));
    left -= static_cast<int64_t>(end - begin);
    if (end < size) {
      out.set("NextToken", ex.platform.tokens.seal(kScope, fmt::format("{} {}", index, end)));
      break;
    }
  }
  out.set("MetricDataResults", std::move(list));
  out.set("Messages", Value::Array{});
  return out;
}

constexpr Operation kOperations[] = {{"GetMetricData", Role::read, get_metric_data}};

}  // namespace

constexpr Family kMetricData{"cloudwatch", kOperations};

}  // namespace textmill::api
