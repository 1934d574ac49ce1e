#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "format/json.h"

namespace textmill::tasks {

/// The order in which labels get their ids: by number if all are integers, else by bytes.
std::vector<std::string> label_vocabulary(const std::set<std::string>& labels);

/// The id of a label among those of a model: by its name, or by its number where transformers named that LABEL_N.
std::optional<int> find_label(const std::vector<std::string>& labels, const std::string& label);

/// Says of a row's label that it is none of `labels`, which are `whose`: "the model's".
base::Error unknown_label(const std::string& where, const std::string& label, std::string_view whose,
                          const std::vector<std::string>& labels);

/// {"id2label": {"0": "no", ...}, "label2id": {"no": 0, ...}}, as transformers writes them.
format::Json label_maps(const std::vector<std::string>& labels);

}  // namespace textmill::tasks
