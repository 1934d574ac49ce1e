#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "store/distribution.h"

namespace textmill::api {

/// What is asked of the values of a period; nothing where they do not tell, such as a percentile of sums.
using Statistic = std::function<std::optional<double>(const store::Distribution&)>;

/// "Average", "p99.9", "tm90", "TM(10%:90%)", "TC(:0.5)", "TS(...)", "PR(:300)", "IQM". Throws invalid naming it.
Statistic parse_statistic(std::string_view text);

}  // namespace textmill::api
