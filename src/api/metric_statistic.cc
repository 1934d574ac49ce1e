#include "api/metric_statistic.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "base/error.h"

namespace textmill::api {

namespace {

using store::Distribution;

std::optional<double> number_in(std::string_view text) {
  double value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

/// Values from one bound to another: shares of their number (0 to 1), or the values themselves.
struct Range {
  bool shares = false;
  double low = 0, high = 1;
};

/// "10%:90%", ":0.5", "100:".
std::optional<Range> range_in(std::string_view text) {
  size_t colon = text.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view low = text.substr(0, colon), high = text.substr(colon + 1);
  Range range{.shares = low.ends_with('%') || high.ends_with('%')};
  if (!range.shares) range.low = -std::numeric_limits<double>::infinity(), range.high = -range.low;
  auto read = [&](std::string_view bound, double& value) {
    if (bound.empty()) return true;
    if (bound.ends_with('%') != range.shares) return false;
    if (range.shares) bound.remove_suffix(1);
    auto number = number_in(bound);
    if (number) value = range.shares ? *number / 100 : *number;
    return number.has_value();
  };
  bool good = !(low.empty() && high.empty()) && read(low, range.low) && read(high, range.high) &&
              range.low < range.high;
  if (range.shares) good = good && range.low >= 0 && range.high <= 1;
  return good ? std::optional(range) : std::nullopt;
}

/// Count and sum of the known values of a range.
std::pair<double, double> inside(const Distribution& d, const Range& range) {
  return range.shares ? d.between(range.low, range.high) : d.within(range.low, range.high);
}

Statistic ranged(std::string_view name, const Range& range) {
  if (name == "TM")
    return [range](const Distribution& d) -> std::optional<double> {
      auto [count, sum] = inside(d, range);
      return count > 0 ? std::optional(sum / count) : std::nullopt;
    };
  if (name == "TC")
    return [range](const Distribution& d) -> std::optional<double> {
      return d.known() > 0 ? std::optional(inside(d, range).first) : std::nullopt;
    };
  if (name == "TS")
    return [range](const Distribution& d) -> std::optional<double> {
      return d.known() > 0 ? std::optional(inside(d, range).second) : std::nullopt;
    };
  if (name == "PR" && !range.shares)
    return [range](const Distribution& d) -> std::optional<double> {
      return d.known() > 0 ? std::optional(100 * inside(d, range).first / d.known()) : std::nullopt;
    };
  return {};
}

Statistic plain(std::string_view text) {
  if (text == "SampleCount") return [](const Distribution& d) { return std::optional(d.count()); };
  if (text == "Average") return [](const Distribution& d) { return std::optional(d.average()); };
  if (text == "Sum") return [](const Distribution& d) { return std::optional(d.sum()); };
  if (text == "Minimum") return [](const Distribution& d) { return std::optional(d.minimum()); };
  if (text == "Maximum") return [](const Distribution& d) { return std::optional(d.maximum()); };
  if (text == "IQM") return ranged("TM", {.shares = true, .low = 0.25, .high = 0.75});
  return {};
}

/// "p90", "tm99", "tc10", "ts50": up to that share; a percentile is the value there.
Statistic up_to(std::string_view text) {
  size_t digits = std::min(text.find_first_of("0123456789"), text.size());
  auto percent = number_in(text.substr(digits));
  if (!percent || *percent < 0 || *percent > 100) return {};
  std::string_view name = text.substr(0, digits);
  double share = *percent / 100;
  if (name == "p") return [share](const Distribution& d) { return d.percentile(share); };
  for (auto [lower, upper] : {std::pair("tm", "TM"), {"tc", "TC"}, {"ts", "TS"}})
    if (name == lower) return ranged(upper, {.shares = true, .low = 0, .high = share});
  return {};
}

}  // namespace

Statistic parse_statistic(std::string_view text) {
  Statistic found = plain(text);
  if (!found) found = up_to(text);
  if (size_t open = text.find('('); !found && open != std::string_view::npos && text.ends_with(')'))
    if (auto range = range_in(text.substr(open + 1, text.size() - open - 2)))
      found = ranged(text.substr(0, open), *range);
  if (!found)
    throw base::Error(
        base::Kind::invalid,
        fmt::format(
            "The value {} for parameter Stat is not supported. Expected SampleCount, Average, Sum, "
            "Minimum, Maximum, IQM, or a form such as p99, tm99, TM(10%:90%), TC(:0.5), TS(1:), PR(:300)",
            text));
  return found;
}

}  // namespace textmill::api
