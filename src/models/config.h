#pragma once

#include <span>
#include <string>

#include "base/error.h"
#include "format/json.h"
#include "nn/record.h"

namespace textmill::models {

// Members that the config.json of every family has; what is wrong throws invalid naming the file and the
// member.

/// A row of a family's list of model types.
template <class Family>
struct ModelType {
  const char* name;
  Family family;
};

[[noreturn]] void refuse_model_type(const format::JsonView& config, const std::string& known);

template <class Family>
Family model_type(const format::JsonView& config, std::span<const ModelType<Family>> known) {
  std::string name = config.get_string("model_type", "(none)"), list;
  for (const auto& [type, family] : known) {
    if (name == type) return family;
    list += list.empty() ? type : std::string(", ") + type;
  }
  refuse_model_type(config, list);
}

int size(const format::JsonView& config, const char* member, int absent);               // 1 to 2^26
int layers(const format::JsonView& config, const char* member, int absent);             // 1 to 1000
double probability(const format::JsonView& config, const char* member, double absent);  // in [0, 1)
double epsilon(const format::JsonView& config, const char* member, double absent);      // above 0, in f32 too
nn::Activation activation(const format::JsonView& config, const char* member, const char* absent);
/// The rotation of heads of `head_dim` columns, from rope_parameters, or from rope_theta and its like as
/// written before they had a member of their own. Only the plain kind.
nn::RotarySpec rotary(const format::JsonView& config, int head_dim, double absent_fraction = 1);
/// From id2label, else num_labels, else 2.
int labels(const format::JsonView& config);

}  // namespace textmill::models
