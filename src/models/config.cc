#include "models/config.h"

#include <fmt/format.h>

#include <limits>

namespace textmill::models {

void refuse_model_type(const format::JsonView& config, const std::string& known) {
  if (auto type = config.find("model_type")) type->fail("one of " + known);
  throw base::Error(base::Kind::invalid,
                    fmt::format("{}: no model_type; expected one of {}", config.where(), known));
}

int size(const format::JsonView& config, const char* member, int absent) {
  return static_cast<int>(config.get_integer(member, absent, 1, 1 << 26));
}

int layers(const format::JsonView& config, const char* member, int absent) {
  return static_cast<int>(config.get_integer(member, absent, 1, 1000));
}

double probability(const format::JsonView& config, const char* member, double absent) {
  double p = config.get_number(member, absent);
  if (!(p >= 0 && p < 1)) config.at(member).fail("a number from 0 to below 1");
  return p;
}

double epsilon(const format::JsonView& config, const char* member, double absent) {
  double value = config.get_number(member, absent);
  using F32 = std::numeric_limits<float>;
  if (!(value >= F32::min() && value <= F32::max())) config.at(member).fail("a number above 0");
  return value;
}

nn::Activation activation(const format::JsonView& config, const char* member, const char* absent) {
  using enum nn::Activation;
  static constexpr std::pair<const char*, nn::Activation> kNames[] = {
      {"gelu", gelu},           {"gelu_new", gelu_tanh}, {"gelu_pytorch_tanh", gelu_tanh},
      {"gelu_fast", gelu_tanh}, {"relu", relu},          {"silu", silu},
      {"swish", silu},          {"tanh", tanh}};
  std::string name = config.get_string(member, absent), list;
  for (auto [known, activation] : kNames) {
    if (name == known) return activation;
    list += list.empty() ? known : std::string(", ") + known;
  }
  config.at(member).fail("one of " + list);
}

nn::RotarySpec rotary(const format::JsonView& config, int head_dim, double absent_fraction) {
  format::JsonView from = config.find("rope_parameters").value_or(config);
  for (const char* member : {"rope_type", "rope_scaling.rope_type", "rope_scaling.type"}) {
    if (from.get_string(member, "default") != "default") from.at(member).fail("\"default\"");
  }
  double theta = from.get_number("rope_theta", config.get_number("rotary_emb_base", 10000));
  double fraction =
      from.get_number("partial_rotary_factor", config.get_number("rotary_pct", absent_fraction));
  if (!(theta > 0 && fraction > 0 && fraction <= 1))
    from.fail("a positive rope_theta and a share of each head");
  return {head_dim, nn::rotary_frequencies(static_cast<int>(head_dim * fraction), theta)};
}

int labels(const format::JsonView& config) {
  if (auto names = config.find("id2label")) {
    size_t count = names->object().size();
    if (count == 0) names->fail("at least one label");
    return static_cast<int>(count);
  }
  return static_cast<int>(config.get_integer("num_labels", 2, 1, 1 << 20));
}

}  // namespace textmill::models
