#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "format/json.h"

namespace textmill::tasks {

/// The order in which labels get their ids: by number if all are integers, else by bytes.
std::vector<std::string> label_vocabulary(const std::set<std::string>& labels);

/// {"id2label": {"0": "no", ...}, "label2id": {"no": 0, ...}}, as transformers writes them.
format::Json label_maps(const std::vector<std::string>& labels);

}  // namespace textmill::tasks
