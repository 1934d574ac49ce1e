#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "store/database.h"
#include "store/distribution.h"

// Series of metrics: values by time, in ever coarser steps as they grow old, so that the disk they take is bounded.

namespace textmill::store {

using Dimensions = std::map<std::string, std::string>;

struct Series {
  int64_t id = 0;
  std::string space, name, unit;  // the namespace; "None" is a unit too
  Dimensions dimensions;
};

/// The series, made if it is not there.
int64_t enter_series(Connection& connection, const Series& series);

/// Adds to what the series has at that time. `step`: seconds, 1 or 60; times are rounded down to it.
void put_point(Connection& connection, int64_t series, int64_t time, int step, const Distribution& values);

struct SeriesFilter {
  std::optional<std::string> space, name, unit;
  std::optional<Dimensions> dimensions;                                    // exactly these
  std::vector<std::pair<std::string, std::optional<std::string>>> having;  // at least these; with any value
  std::optional<int64_t> changed_since;                                    // seconds
  std::string after;  // the place() of the last one of the page before
  size_t limit = SIZE_MAX;
};

/// By namespace, name, dimensions, unit.
std::vector<Series> find_series(Connection& connection, const SeriesFilter& filter);
/// Where a series stands in that order.
std::string place(const Series& series);

struct Bin {
  int64_t start;  // seconds
  Distribution values;
};

/// Values from `from` to `to` (seconds, [from, to)) in bins of `period` seconds that start at `from`; empty bins are
/// left out. What was rolled up to steps longer than the period is not seen.
std::vector<Bin> read_series(Connection& connection, int64_t series, int64_t from, int64_t to,
                             int64_t period);

/// Rolls up what is old: steps of 1 s for 3 hours, 60 s for 15 days, 300 s for 63 days, 3600 s for 455 days. Some
/// series per call; true: call again.
bool tend_series(Database& database, base::WallTime now);

}  // namespace textmill::store
