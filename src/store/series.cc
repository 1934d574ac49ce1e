#include "store/series.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace textmill::store {

namespace {

constexpr int64_t kHour = 3600, kDay = 24 * kHour;

/// How long values stay in steps of a length, and the next length (0: they go).
struct Age {
  int step, next;
  int64_t keep;
};
constexpr Age kAges[] = {
    {1, 60, 3 * kHour}, {60, 300, 15 * kDay}, {300, 3600, 63 * kDay}, {3600, 0, 455 * kDay}};

int64_t floor_to(int64_t time, int64_t step) { return time - ((time % step) + step) % step; }

/// When values of that age and time are to be rolled up: whole steps of the next length only, so that a step is once.
int64_t due(const Age& age, int64_t time) {
  int64_t whole = std::max(age.next, age.step);
  return floor_to(time, whole) + whole + age.keep;
}

const Age& age_of(int step) { return *std::ranges::find(kAges, step, &Age::step); }

// "k\0v\0k\0v\0": sorted, since the map is.
std::string packed(const Dimensions& dimensions) {
  std::string out;
  for (const auto& [name, value] : dimensions) out.append(name).append(1, '\0').append(value).append(1, '\0');
  return out;
}

Dimensions unpacked(std::string_view text) {
  Dimensions dimensions;
  while (!text.empty()) {
    size_t name = text.find('\0'), value = text.find('\0', name + 1);
    dimensions.emplace(text.substr(0, name), text.substr(name + 1, value - name - 1));
    text.remove_prefix(value + 1);
  }
  return dimensions;
}

Distribution values_of(const Rows& rows, int column) {
  return Distribution::decode(rows.real(column), rows.real(column + 1), rows.real(column + 2),
                              rows.real(column + 3), rows.text(column + 4));
}

bool has(const Dimensions& dimensions, const SeriesFilter& filter) {
  return std::ranges::all_of(filter.having, [&](const auto& wanted) {
    auto found = dimensions.find(wanted.first);
    return found != dimensions.end() && (!wanted.second || found->second == *wanted.second);
  });
}

}  // namespace

std::string place(const Series& series) {
  std::string dimensions = packed(series.dimensions);
  return fmt::format("{}\n{}\n{}\n{}", series.space, series.name, dimensions, series.unit);
}

int64_t enter_series(Connection& connection, const Series& series) {
  std::string dimensions = packed(series.dimensions);
  if (auto id = connection.integer(
          "SELECT id FROM metric_series WHERE space = ? AND name = ? AND dimensions = ? AND unit = ?",
          series.space, series.name, Bytes{dimensions}, series.unit))
    return *id;
  connection.execute(
      "INSERT INTO metric_series (space, name, dimensions, unit, changed, tend_at) VALUES (?, ?, ?, ?, 0, 0)",
      series.space, series.name, Bytes{dimensions}, series.unit);
  return connection.last_id();
}

void put_point(Connection& connection, int64_t series, int64_t time, int step, const Distribution& values) {
  time = floor_to(time, step);
  Distribution all = values;
  {
    Rows rows = connection.query(
        "SELECT count, sum, minimum, maximum, known FROM metric_points WHERE series = ? AND step = ? AND "
        "time = ?",
        series, step, time);
    if (rows.next()) all.merge(values_of(rows, 0));
  }
  std::string known = all.encode_values();
  connection.execute(
      "INSERT OR REPLACE INTO metric_points (series, step, time, count, sum, minimum, maximum, known)"
      " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
      series, step, time, all.count(), all.sum(), all.minimum(), all.maximum(), Bytes{known});
  connection.execute(
      "UPDATE metric_series SET changed = max(changed, ?2), tend_at = min(tend_at, ?3) WHERE id = ?1 AND"
      " (changed < ?2 OR tend_at > ?3)",
      series, time, due(age_of(step), time));
}

std::vector<Series> find_series(Connection& connection, const SeriesFilter& filter) {
  std::vector<Series> found;
  std::optional<std::string> dimensions;
  if (filter.dimensions) dimensions = packed(*filter.dimensions);
  // What is not asked for must not keep SQLite from its index, nor be the pages before read again.
  auto where = [](bool asked, std::string_view condition, int parameter) {
    return asked ? std::string(condition) : fmt::format("?{} IS NULL", parameter);
  };
  std::optional<std::string> space,
      name;  // of `after`; a name may have a line's end in it: then this is less
  if (size_t end = filter.after.find('\n'); end != std::string::npos) {
    space = filter.after.substr(0, end);
    name = filter.after.substr(end + 1, filter.after.find('\n', end + 1) - end - 1);
  }
  Rows rows = connection.query(
      fmt::format(
          "SELECT id, space, name, dimensions, unit FROM metric_series WHERE {} AND {} AND {} AND {} AND {}"
          " AND {} ORDER BY space, name, dimensions, unit",
          where(filter.space.has_value(), "space = ?1", 1), where(filter.name.has_value(), "name = ?2", 2),
          where(filter.unit.has_value(), "unit = ?3", 3), where(dimensions.has_value(), "dimensions = ?4", 4),
          where(filter.changed_since.has_value(), "changed >= ?5", 5),
          space ? "(space, name) >= (?6, ?7)" : "?6 IS ?7"),
      filter.space, filter.name, filter.unit, dimensions ? std::optional(Bytes{*dimensions}) : std::nullopt,
      filter.changed_since, space, name);
  while (found.size() < filter.limit && rows.next()) {
    Series series{rows.integer(0), rows.string(1), rows.string(2), rows.string(4), unpacked(rows.text(3))};
    if (has(series.dimensions, filter) && (filter.after.empty() || place(series) > filter.after))
      found.push_back(std::move(series));
  }
  return found;
}

std::vector<Bin> read_series(Connection& connection, int64_t series, int64_t from, int64_t to,
                             int64_t period) {
  std::map<int64_t, Distribution> bins;
  Rows rows = connection.query(
      "SELECT time, count, sum, minimum, maximum, known FROM metric_points"
      " WHERE series = ? AND step IN (1, 60, 300, 3600) AND step <= ? AND time >= ? AND time < ?",
      series, period, from, to);
  while (rows.next()) bins[from + floor_to(rows.integer(0) - from, period)].merge(values_of(rows, 1));
  std::vector<Bin> out;
  for (auto& [start, values] : bins) out.push_back({start, std::move(values)});
  return out;
}

namespace {

/// True while the series has values.
bool roll_up(Connection& connection, int64_t series, int64_t now) {
  for (const Age& age : kAges) {
    int64_t before = floor_to(now - age.keep, std::max(age.next, age.step));
    std::map<int64_t, Distribution> coarse;
    if (age.next) {
      Rows rows = connection.query(
          "SELECT time, count, sum, minimum, maximum, known FROM metric_points WHERE series = ? AND step = ? "
          "AND time < ?",
          series, age.step, before);
      while (rows.next()) coarse[floor_to(rows.integer(0), age.next)].merge(values_of(rows, 1));
    }
    for (const auto& [time, values] : coarse) put_point(connection, series, time, age.next, values);
    connection.execute("DELETE FROM metric_points WHERE series = ? AND step = ? AND time < ?", series,
                       age.step, before);
  }
  return connection.integer("SELECT 1 FROM metric_points WHERE series = ? LIMIT 1", series).has_value();
}

/// When the first of a series' values is due.
int64_t next_due(Connection& connection, int64_t series) {
  int64_t next = INT64_MAX;
  for (const Age& age : kAges)
    if (auto first = connection.integer("SELECT min(time) FROM metric_points WHERE series = ? AND step = ?",
                                        series, age.step))
      next = std::min(next, due(age, *first));
  return next;
}

}  // namespace

bool tend_series(Database& database, base::WallTime now) {
  constexpr size_t kAtOnce = 256;
  int64_t seconds = std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
  std::vector<int64_t> ready;
  database.read([&](Connection& c) {
    Rows rows = c.query("SELECT id FROM metric_series WHERE tend_at <= ? LIMIT ?", seconds, kAtOnce);
    while (rows.next()) ready.push_back(rows.integer(0));
  });
  if (ready.empty()) return false;
  database.write([&](Connection& c) {
    for (int64_t series : ready) {
      if (roll_up(c, series, seconds))
        // At most once an hour: one that is written to has values that fall due each minute.
        c.execute("UPDATE metric_series SET tend_at = ? WHERE id = ?",
                  std::max(next_due(c, series), seconds + kHour), series);
      else
        c.execute("DELETE FROM metric_series WHERE id = ?", series);
    }
  });
  return ready.size() == kAtOnce;
}

}  // namespace textmill::store
