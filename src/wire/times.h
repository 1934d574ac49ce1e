#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/time.h"

namespace textmill::wire {

/// "20150830T123600Z", as signatures have it.
std::string basic_time(base::WallTime time);
std::optional<base::WallTime> parse_basic_time(std::string_view text);

/// "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110).
std::string http_date(base::WallTime time);
std::optional<base::WallTime> parse_http_date(std::string_view text);

/// Seconds since the epoch, as the value tree holds a time, and back.
double to_seconds(base::WallTime time);
base::WallTime from_seconds(double seconds);
/// Whether they are a time of the years 1 to 9999: others have no place in a WallTime, or no text.
bool is_time(double seconds);

}  // namespace textmill::wire
