#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace textmill::base {

/// For durations and deadlines: never goes back.
using SteadyTime = std::chrono::steady_clock::time_point;
/// For what people read and files record.
using WallTime = std::chrono::sys_time<std::chrono::microseconds>;

SteadyTime steady_now();
WallTime wall_now();
double seconds_since(SteadyTime start);

/// "2026-01-31T23:59:59.123Z": UTC, milliseconds (truncated).
std::string iso8601(WallTime time);

/// Reads RFC 3339: "2026-01-31T23:59:59", an optional fraction, then Z or +hh:mm / -hh:mm. Throws invalid.
WallTime parse_iso8601(std::string_view text);

}  // namespace textmill::base
