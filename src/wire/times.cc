#include "wire/times.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

namespace textmill::wire {

using namespace std::chrono;
using base::WallTime;

namespace {

constexpr std::array<std::string_view, 7> kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr std::array<std::string_view, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

/// The digits of `text` from `at`, or -1.
int number(std::string_view text, size_t at, size_t count) {
  int value = 0;
  for (char c : text.substr(at, count)) {
    if (c < '0' || c > '9') return -1;
    value = value * 10 + (c - '0');
  }
  return value;
}

std::optional<WallTime> time_of(int y, int mon, int d, int h, int min, int s) {
  year_month_day date(year(y), month(static_cast<unsigned>(mon)), day(static_cast<unsigned>(d)));
  if (y < 0 || mon < 0 || d < 0 || !date.ok() || h < 0 || h > 23 || min < 0 || min > 59 || s < 0 || s > 60) {
    return std::nullopt;
  }
  return sys_days(date) + hours(h) + minutes(min) + seconds(s);
}

struct Fields {
  year_month_day date;
  weekday day;
  hh_mm_ss<seconds> clock;
};

Fields fields(WallTime time) {
  auto midnight = floor<days>(time);
  return {year_month_day(midnight), weekday(midnight), hh_mm_ss(floor<seconds>(time - midnight))};
}

}  // namespace

std::string basic_time(WallTime time) {
  Fields f = fields(time);
  return fmt::format("{:04}{:02}{:02}T{:02}{:02}{:02}Z", static_cast<int>(f.date.year()),
                     static_cast<unsigned>(f.date.month()), static_cast<unsigned>(f.date.day()),
                     f.clock.hours().count(), f.clock.minutes().count(), f.clock.seconds().count());
}

std::optional<WallTime> parse_basic_time(std::string_view text) {
  if (text.size() != 16 || text[8] != 'T' || text[15] != 'Z') return std::nullopt;
  return time_of(number(text, 0, 4), number(text, 4, 2), number(text, 6, 2), number(text, 9, 2),
                 number(text, 11, 2), number(text, 13, 2));
}

std::string http_date(WallTime time) {
  Fields f = fields(time);
  return fmt::format("{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT", kDays[f.day.c_encoding()],
                     static_cast<unsigned>(f.date.day()), kMonths[static_cast<unsigned>(f.date.month()) - 1],
                     static_cast<int>(f.date.year()), f.clock.hours().count(), f.clock.minutes().count(),
                     f.clock.seconds().count());
}

std::optional<WallTime> parse_http_date(std::string_view text) {
  if (text.size() != 29 || text.substr(3, 2) != ", " || text[19] != ':' || text[22] != ':' ||
      text.substr(25) != " GMT") {
    return std::nullopt;
  }
  for (size_t m = 0; m < kMonths.size(); ++m) {
    if (text.substr(7, 5) != fmt::format(" {} ", kMonths[m])) continue;
    return time_of(number(text, 12, 4), static_cast<int>(m + 1), number(text, 5, 2), number(text, 17, 2),
                   number(text, 20, 2), number(text, 23, 2));
  }
  return std::nullopt;
}

double to_seconds(WallTime time) { return static_cast<double>(time.time_since_epoch().count()) / 1e6; }

bool is_time(double seconds) {
  constexpr double kFirst = -62'135'596'800, kEnd = 253'402'300'800;
  return seconds >= kFirst && seconds < kEnd;  // false for NaN
}

WallTime from_seconds(double seconds) { return WallTime(microseconds(std::llround(seconds * 1e6))); }

}  // namespace textmill::wire
