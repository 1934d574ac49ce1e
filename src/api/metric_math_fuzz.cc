// Whatever is read is computed or refused.

#include <cmath>
#include <cstdlib>

#include "api/metric_math.h"
#include "api/metric_statistic.h"
#include "base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace textmill::api;
  std::string_view text(reinterpret_cast<const char*>(data), std::min<size_t>(size, 2048));
  TimeSeries series{.label = "m", .period = 60, .points = {{0, 1}, {60, -2}, {180, 1e300}}};
  MathScope scope{
      .find = [&](std::string_view) { return MathValue(series); },
      .metrics = [&](std::string_view part) { return std::vector<TimeSeries>(part.size() % 4, series); },
      .start = 0,
      .end = 240,
      .period = 60};
  try {
    MathValue value = MathExpression(text).evaluate(scope);
    if (auto one = std::get_if<TimeSeries>(&value))
      for (const auto& [time, v] : one->points)
        if (!std::isfinite(v)) std::abort();
  } catch (const textmill::base::Error& error) {
    if (error.kind() != textmill::base::Kind::invalid) std::abort();
  }
  try {
    parse_statistic(text);
  } catch (const textmill::base::Error& error) {
    if (error.kind() != textmill::base::Kind::invalid) std::abort();
  }
  return 0;
}
