#pragma once

#include "api/exchange.h"
#include "store/series.h"

namespace textmill::api {

/// [{Name, Value}]; throws invalid for a name twice.
store::Dimensions dimensions_in(const Value& structure);
Value dimension_list(const store::Dimensions& dimensions);

/// Seconds since 1970.
int64_t seconds_in(const Value& structure, std::string_view member);

/// A range of time in whole periods: `start` is rounded down as far as values of that age are rolled up.
struct MetricRange {
  int64_t start = 0, end = 0, period = 60;  // seconds
  int64_t periods() const { return (end - start + period - 1) / period; }
};
/// From StartTime, EndTime of the input and a period. Throws invalid.
MetricRange metric_range(Exchange& ex, int64_t period);

}  // namespace textmill::api
