#include "base/time.h"

#include <fmt/format.h>

#include "base/error.h"

namespace textmill::base {

using namespace std::chrono;

SteadyTime steady_now() { return steady_clock::now(); }
WallTime wall_now() { return floor<microseconds>(system_clock::now()); }
double seconds_since(SteadyTime start) { return duration<double>(steady_now() - start).count(); }

std::string iso8601(WallTime time) {
  auto day = floor<days>(time);
  year_month_day date(day);
  hh_mm_ss clock(floor<milliseconds>(time - day));
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     clock.hours().count(), clock.minutes().count(), clock.seconds().count(),
                     clock.subseconds().count());
}

WallTime parse_iso8601(std::string_view text) {
  std::string_view rest = text;
  auto fail = [&] {
    return Error(Kind::invalid, fmt::format("\"{}\": not a time such as 2026-01-31T23:59:59Z", text));
  };
  auto digits = [&](size_t count) {
    int value = 0;
    for (size_t i = 0; i < count; ++i, rest.remove_prefix(1)) {
      if (rest.empty() || rest[0] < '0' || rest[0] > '9') throw fail();
      value = value * 10 + (rest[0] - '0');
    }
    return value;
  };
  auto skip = [&](char c) {
    if (rest.empty() || rest[0] != c) return false;
    rest.remove_prefix(1);
    return true;
  };
  auto expect = [&](char c) {
    if (!skip(c)) throw fail();
  };

  int y = digits(4);
  expect('-');
  int m = digits(2);
  expect('-');
  int d = digits(2);
  expect('T');
  int h = digits(2);
  expect(':');
  int min = digits(2);
  expect(':');
  int s = digits(2);
  year_month_day date(year(y), month(static_cast<unsigned>(m)), day(static_cast<unsigned>(d)));
  if (!date.ok() || h > 23 || min > 59 || s > 60) throw fail();

  microseconds fraction{0};
  if (skip('.')) {
    int unit = 100000;
    do {
      fraction += microseconds(digits(1) * unit);
      unit /= 10;
    } while (!rest.empty() && rest[0] >= '0' && rest[0] <= '9');
  }
  minutes offset{0};
  if (!skip('Z')) {
    bool west = skip('-');
    if (!west) expect('+');
    int hours_off = digits(2);
    expect(':');
    int minutes_off = digits(2);
    if (hours_off > 23 || minutes_off > 59) throw fail();
    offset = hours(hours_off) + minutes(minutes_off);
    if (west) offset = -offset;
  }
  if (!rest.empty()) throw fail();
  return sys_days(date) + hours(h) + minutes(min) + seconds(s) + fraction - offset;
}

}  // namespace textmill::base
