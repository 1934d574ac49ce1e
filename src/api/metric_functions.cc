#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "api/metric_math_tree.h"

namespace textmill::api {

namespace {

using Node = MathExpression::Node;
using Many = std::vector<TimeSeries>;
using Number = std::optional<double>;

wire::Fault wrong(const Node& call, std::string_view what) {
  return math_fault(fmt::format("Error in expression: {}: {}", call.text, what));
}

/// Not a number, infinite: no value at that time.
void put(TimeSeries& series, int64_t time, double value) {
  if (std::isfinite(value)) series.points[time] = value;
}

MathValue argument(const Node& call, const MathScope& scope, size_t index) {
  return compute(call.parts[index], scope);
}

double scalar(const Node& call, const MathScope& scope, size_t index) {
  MathValue value = argument(call, scope, index);
  if (auto number = std::get_if<double>(&value)) return *number;
  throw wrong(call, fmt::format("argument {} must be a number", index + 1));
}

TimeSeries one(const Node& call, const MathScope& scope, size_t index) {
  MathValue value = argument(call, scope, index);
  if (auto series = std::get_if<TimeSeries>(&value)) return std::move(*series);
  throw wrong(call, fmt::format("argument {} must be a time series", index + 1));
}

Many many(const Node& call, const MathScope& scope, size_t index) {
  MathValue value = argument(call, scope, index);
  if (auto several = std::get_if<Many>(&value)) return std::move(*several);
  if (auto series = std::get_if<TimeSeries>(&value)) return {std::move(*series)};
  throw wrong(call, fmt::format("argument {} must be an array of time series", index + 1));
}

/// A word that is an argument: ASC, REPEAT, ...; empty when it is something else.
std::string word(const Node& call, size_t index) {
  return index < call.parts.size() && call.parts[index].kind == Node::Kind::name ? call.parts[index].text
                                                                                 : "";
}

/// One series after another where the value is an array.
template <class Each>
MathValue each(const Node& call, MathValue value, const Each& compute_one) {
  if (auto several = std::get_if<Many>(&value)) {
    for (TimeSeries& series : *several) series = compute_one(series);
    return value;
  }
  if (auto series = std::get_if<TimeSeries>(&value)) return compute_one(*series);
  throw wrong(call, "argument 1 must be a time series");
}

// Operators

double apply(std::string_view name, double a, double b) {
  if (name == "+") return a + b;
  if (name == "-") return a - b;
  if (name == "*") return a * b;
  if (name == "/") return a / b;
  if (name == "^") return std::pow(a, b);
  if (name == "<") return a < b;
  if (name == "<=") return a <= b;
  if (name == ">") return a > b;
  if (name == ">=") return a >= b;
  if (name == "==") return a == b;
  if (name == "!=") return a != b;
  if (name == "AND") return a != 0 && b != 0;
  TEXTMILL_CHECK(name == "OR");
  return a != 0 || b != 0;
}

/// At the times that both have.
TimeSeries apply(std::string_view name, const TimeSeries& a, const MathValue& b, bool turned) {
  TimeSeries out{.label = a.label, .period = a.period, .points = {}};
  auto series = std::get_if<TimeSeries>(&b);
  if (series) out.period = std::max(a.period, series->period);
  for (const auto& [time, value] : a.points) {
    double other = 0;
    if (series) {
      auto found = series->points.find(time);
      if (found == series->points.end()) continue;
      other = found->second;
    } else {
      other = std::get<double>(b);
    }
    put(out, time, turned ? apply(name, other, value) : apply(name, value, other));
  }
  return out;
}

MathValue combine(const Node& call, const MathScope& scope) {
  MathValue a = argument(call, scope, 0), b = argument(call, scope, 1);
  if (auto x = std::get_if<double>(&a))
    if (auto y = std::get_if<double>(&b)) return apply(call.text, *x, *y);
  bool turned = std::holds_alternative<double>(a) ||
                (std::holds_alternative<TimeSeries>(a) && std::holds_alternative<Many>(b));
  const MathValue &left = turned ? b : a, &right = turned ? a : b;
  if (auto series = std::get_if<TimeSeries>(&left)) return apply(call.text, *series, right, turned);
  if (std::holds_alternative<Many>(right)) throw wrong(call, "two arrays of time series cannot be combined");
  Many out;
  for (const TimeSeries& series : std::get<Many>(left))
    out.push_back(apply(call.text, series, right, turned));
  return out;
}

MathValue negate(const Node& call, const MathScope& scope) {
  MathValue value = argument(call, scope, 0);
  if (auto number = std::get_if<double>(&value)) return -*number;
  return each(call, std::move(value), [](const TimeSeries& s) { return apply("*", s, -1.0, false); });
}

// Functions of each value, or of neighbours

template <double (*F)(double)>
MathValue map_values(const Node& call, const MathScope& scope) {
  MathValue value = argument(call, scope, 0);
  if (auto number = std::get_if<double>(&value)) return F(*number);
  return each(call, std::move(value), [](const TimeSeries& s) {
    TimeSeries out{.label = s.label, .period = s.period, .points = {}};
    for (const auto& [time, v] : s.points) put(out, time, F(v));
    return out;
  });
}

double absolute(double v) { return std::fabs(v); }
double ceiling(double v) { return std::ceil(v); }
double floored(double v) { return std::floor(v); }
double natural_log(double v) { return std::log(v); }
double decimal_log(double v) { return std::log10(v); }

/// Of each value but the first and the one before it; `seconds` between them.
template <double (*F)(double change, double seconds)>
MathValue neighbours(const Node& call, const MathScope& scope) {
  return each(call, argument(call, scope, 0), [](const TimeSeries& s) {
    TimeSeries out{.label = s.label, .period = s.period, .points = {}};
    for (auto before = s.points.begin(), it = before; it != s.points.end(); before = it++)
      if (it != before)
        put(out, it->first, F(it->second - before->second, static_cast<double>(it->first - before->first)));
    return out;
  });
}

double rate(double change, double seconds) { return change / seconds; }
double difference(double change, double) { return change; }
double time_difference(double, double seconds) { return seconds; }

MathValue running_sum(const Node& call, const MathScope& scope) {
  return each(call, argument(call, scope, 0), [](TimeSeries s) {
    double sum = 0;
    for (auto& [time, value] : s.points) value = sum += value;
    return s;
  });
}

// Aggregates: over time of one series, over the series of an array at each time

double aggregate(std::string_view name, const std::vector<double>& values) {
  double sum = 0, squares = 0, count = static_cast<double>(values.size());
  for (double v : values) sum += v;
  if (name == "SUM") return sum;
  if (name == "AVG") return sum / count;
  if (name == "MIN") return *std::ranges::min_element(values);
  if (name == "MAX") return *std::ranges::max_element(values);
  TEXTMILL_CHECK(name == "STDDEV");
  for (double v : values) squares += (v - sum / count) * (v - sum / count);
  return std::sqrt(squares / count);
}

Number aggregate(std::string_view name, const TimeSeries& series) {
  std::vector<double> values;
  values.reserve(series.points.size());
  for (const auto& [time, value] : series.points) values.push_back(value);
  return values.empty() ? std::nullopt : std::optional(aggregate(name, values));
}

MathValue aggregate(const Node& call, const MathScope& scope) {
  MathValue value = argument(call, scope, 0);
  if (auto series = std::get_if<TimeSeries>(&value)) return aggregate(call.text, *series).value_or(NAN);
  auto several = std::get_if<Many>(&value);
  if (!several) return value;
  TimeSeries out{.label = call.text, .period = scope.period, .points = {}};
  std::map<int64_t, std::vector<double>> at;
  for (const TimeSeries& series : *several) {
    out.period = std::max(out.period, series.period);
    for (const auto& [time, v] : series.points) at[time].push_back(v);
  }
  for (const auto& [time, values] : at) put(out, time, aggregate(call.text, values));
  return out;
}

// Arrays

MathValue metrics(const Node& call, const MathScope& scope) {
  if (call.parts.empty()) return scope.metrics("");
  if (call.parts[0].kind != Node::Kind::text) throw wrong(call, "its argument is a text in quotes");
  return scope.metrics(call.parts[0].text);
}

MathValue list(const Node& call, const MathScope& scope) {
  Many all;
  for (size_t i = 0; i < call.parts.size(); ++i)
    for (TimeSeries& series : many(call, scope, i)) all.push_back(std::move(series));
  return all;
}

MathValue metric_count(const Node& call, const MathScope& scope) {
  return static_cast<double>(many(call, scope, 0).size());
}

template <bool Last>
MathValue end_of(const Node& call, const MathScope& scope) {
  Many all = many(call, scope, 0);
  if (all.empty()) return TimeSeries{.label = call.text, .period = scope.period, .points = {}};
  return Last ? all.back() : all.front();
}

MathValue remove_empty(const Node& call, const MathScope& scope) {
  Many all = many(call, scope, 0);
  std::erase_if(all, [](const TimeSeries& s) { return s.points.empty(); });
  return all;
}

size_t bound(const Node& call, const MathScope& scope, size_t index, size_t size) {
  double value = scalar(call, scope, index);
  return value > 0 ? static_cast<size_t>(std::min(value, static_cast<double>(size))) : 0;
}

MathValue slice(const Node& call, const MathScope& scope) {
  Many all = many(call, scope, 0);
  size_t begin = bound(call, scope, 1, all.size());
  size_t end = call.parts.size() > 2 ? bound(call, scope, 2, all.size()) : all.size();
  return Many(all.begin() + static_cast<std::ptrdiff_t>(begin),
              all.begin() + static_cast<std::ptrdiff_t>(std::max(begin, end)));
}

MathValue sort(const Node& call, const MathScope& scope) {
  Many all = many(call, scope, 0);
  std::string by = word(call, 1), order = word(call, 2);
  if (by != "SUM" && by != "AVG" && by != "MIN" && by != "MAX")
    throw wrong(call, "argument 2 must be AVG, MAX, MIN or SUM");
  if (order != "ASC" && order != "DESC") throw wrong(call, "argument 3 must be ASC or DESC");
  std::ranges::stable_sort(all, [&](const TimeSeries& a, const TimeSeries& b) {
    Number x = aggregate(by, a), y = aggregate(by, b);
    if (!x || !y) return x.has_value() && !y;  // those without values last
    return order == "ASC" ? *x < *y : *y < *x;
  });
  if (call.parts.size() > 3) all.resize(bound(call, scope, 3, all.size()));
  return all;
}

// Time

MathValue period(const Node& call, const MathScope& scope) {
  return static_cast<double>(one(call, scope, 0).period);
}

MathValue time_series(const Node& call, const MathScope& scope) {
  double value = scalar(call, scope, 0);
  TimeSeries out{.label = call.text, .period = scope.period, .points = {}};
  for (int64_t time = scope.start; time < scope.end; time += scope.period) put(out, time, value);
  return out;
}

Number fill_at(const TimeSeries& s, int64_t time, std::string_view how) {
  auto after = s.points.lower_bound(time);
  if (after == s.points.begin()) return std::nullopt;
  auto before = std::prev(after);
  if (how == "REPEAT") return before->second;
  if (after == s.points.end()) return std::nullopt;
  double share =
      static_cast<double>(time - before->first) / static_cast<double>(after->first - before->first);
  return std::lerp(before->second, after->second, share);
}

MathValue fill(const Node& call, const MathScope& scope) {
  std::string how = word(call, 1);
  bool by_word = how == "REPEAT" || how == "LINEAR";
  MathValue with = by_word ? MathValue(0.0) : argument(call, scope, 1);
  if (std::holds_alternative<Many>(with))
    throw wrong(call, "argument 2 must be a number, a time series, REPEAT or LINEAR");
  return each(call, argument(call, scope, 0), [&](const TimeSeries& s) {
    TimeSeries out = s;
    for (int64_t time = scope.start; time < scope.end; time += s.period) {
      if (s.points.contains(time)) continue;
      Number value;
      if (by_word) {
        value = fill_at(s, time, how);
      } else if (auto series = std::get_if<TimeSeries>(&with)) {
        if (auto found = series->points.find(time); found != series->points.end()) value = found->second;
      } else {
        value = std::get<double>(with);
      }
      if (value) put(out, time, *value);
    }
    return out;
  });
}

Number at_time(const MathValue& value, int64_t time) {
  if (auto number = std::get_if<double>(&value)) return *number;
  const auto& points = std::get<TimeSeries>(value).points;
  auto found = points.find(time);
  return found == points.end() ? std::nullopt : std::optional(found->second);
}

// Where a branch is not given there is no value.
MathValue choose(const Node& call, const MathScope& scope) {
  MathValue condition = argument(call, scope, 0), yes = argument(call, scope, 1);
  MathValue no = call.parts.size() > 2 ? argument(call, scope, 2) : MathValue(NAN);
  for (const MathValue* value : {&condition, &yes, &no})
    if (std::holds_alternative<Many>(*value)) throw wrong(call, "arguments must be numbers or time series");
  if (auto number = std::get_if<double>(&condition)) return *number != 0 ? yes : no;
  const auto& when = std::get<TimeSeries>(condition);
  TimeSeries out{.label = call.text, .period = when.period, .points = {}};
  for (const auto& [time, holds] : when.points)
    if (Number value = at_time(holds != 0 ? yes : no, time)) put(out, time, *value);
  return out;
}

struct Function {
  std::string_view name;
  size_t least, most;
  MathValue (*compute)(const Node&, const MathScope&);
};

constexpr size_t kAny = 500;
constexpr Function kFunctions[] = {
    {"ABS", 1, 1, map_values<absolute>},
    {"AVG", 1, 1, aggregate},
    {"CEIL", 1, 1, map_values<ceiling>},
    {"DIFF", 1, 1, neighbours<difference>},
    {"DIFF_TIME", 1, 1, neighbours<time_difference>},
    {"FILL", 2, 2, fill},
    {"FIRST", 1, 1, end_of<false>},
    {"FLOOR", 1, 1, map_values<floored>},
    {"IF", 2, 3, choose},
    {"LAST", 1, 1, end_of<true>},
    {"LOG", 1, 1, map_values<natural_log>},
    {"LOG10", 1, 1, map_values<decimal_log>},
    {"MAX", 1, 1, aggregate},
    {"METRICS", 0, 1, metrics},
    {"METRIC_COUNT", 1, 1, metric_count},
    {"MIN", 1, 1, aggregate},
    {"PERIOD", 1, 1, period},
    {"RATE", 1, 1, neighbours<rate>},
    {"REMOVE_EMPTY", 1, 1, remove_empty},
    {"RUNNING_SUM", 1, 1, running_sum},
    {"SLICE", 2, 3, slice},
    {"SORT", 3, 4, sort},
    {"STDDEV", 1, 1, aggregate},
    {"SUM", 1, 1, aggregate},
    {"TIME_SERIES", 1, 1, time_series},
    {"list", 1, kAny, list},
    {"neg", 1, 1, negate},
};

const Function* find_function(std::string_view name) {
  auto found = std::ranges::find(kFunctions, name, &Function::name);
  return found == std::end(kFunctions) ? nullptr : found;
}

}  // namespace

void check_function(std::string_view name, size_t arguments) {
  const Function* function = find_function(name);
  if (!function || name == "list" || name == "neg")
    throw math_fault(fmt::format("Error in expression: the function {} is not served here", name));
  if (arguments < function->least || arguments > function->most)
    throw math_fault(fmt::format("Error in expression: {} takes {} to {} arguments, not {}", name,
                                 function->least, function->most, arguments));
}

MathValue compute(const Node& node, const MathScope& scope) {
  switch (node.kind) {
    case Node::Kind::number: return node.number;
    case Node::Kind::name: return scope.find(node.text);
    case Node::Kind::text:
      throw math_fault(fmt::format("Error in expression: the text '{}' has no value", node.text));
    case Node::Kind::call: break;
  }
  const Function* function = find_function(node.text);
  return function ? function->compute(node, scope) : combine(node, scope);
}

}  // namespace textmill::api
