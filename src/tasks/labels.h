#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace textmill::tasks {

/// The order in which labels get their ids: by number if all are integers, else by bytes.
std::vector<std::string> label_vocabulary(const std::set<std::string>& labels);

}  // namespace textmill::tasks
