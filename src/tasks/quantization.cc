#include "tasks/quantization.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/spelling.h"

namespace textmill::tasks {
namespace {

using format::Json, format::JsonView;
using enum Scheme::Weights;

constexpr Scheme kSchemes[] = {
    {"w8a8-dynamic", "8-bit weights by channel, activations by token", 8},
    {"w8a8-minmax", "one step for all tokens, up to the largest activation", 8, channels, nn::Range::largest},
    {"w8a8-percentile", "up to their 99.99th percentile", 8, channels, nn::Range::percentile},
    {"w8a8-kl", "with the least divergence", 8, channels, nn::Range::divergence},
    {"w8a8-mse", "with the least squared error", 8, channels, nn::Range::squared_error},
    {"w8a8-smooth", "w8a8-dynamic after SmoothQuant, its alpha tuned", 8, channels, {}, true},
    {"w8", "weights alone, in groups of columns, rounded to 8 bits", 8, rounded},
    {"w4", "the same to 4 bits", 4, rounded},
    {"gptq", "4 bits, rounding made up for by later columns", 4, gptq},
    {"awq", "4 bits, columns scaled by their activations", 4, awq},
};

constexpr const char* kMethod = "textmill";
constexpr int64_t kFormatVersion = 2;  // 2: weights in groups, scales of inputs; 1 had w8a8-dynamic alone

Quantization read_own(const JsonView& q) {
  if (q.at("format_version").integer(1) > kFormatVersion) {
    q.at("format_version")
        .fail(fmt::format("at most {}: this textmill is older than the model", kFormatVersion));
  }
  std::optional<nn::PackedFormat> packing;
  if (q.find("bits")) {
    packing = nn::PackedFormat{nn::PackedLayout::gptq, static_cast<int>(q.at("bits").integer(4, 8)),
                               static_cast<int>(q.at("group_size").integer(0, 1 << 20))};
  }
  return {q.at("scheme").string(), packing};
}

/// An integer under its name of today or of before.
int64_t integer_of(const JsonView& q, const char* name, const char* before, int64_t min, int64_t max) {
  return q.at(q.find(name) || !q.find(before) ? name : before).integer(min, max);
}

int group_of(const JsonView& q, const char* name, const char* before) {
  return static_cast<int>(std::max<int64_t>(integer_of(q, name, before, -1, 1 << 20), 0));  // -1: all columns
}

Quantization read_awq(const JsonView& q) {
  std::string version = q.get_string("version", "gemm");
  if (version != "gemm" && version != "GEMM")
    q.at("version").fail("\"gemm\"; other kernels' layouts are not read");
  if (!q.get_boolean("zero_point", true)) q.at("zero_point").fail("true");
  int bits = static_cast<int>(integer_of(q, "bits", "w_bit", 4, 4));
  return {"awq", nn::PackedFormat{nn::PackedLayout::awq, bits, group_of(q, "group_size", "q_group_size")}};
}

Quantization read_gptq(const JsonView& q) {
  std::string layout = q.get_string("checkpoint_format", "gptq");
  if (layout != "gptq" && layout != "gptq_v2") q.at("checkpoint_format").fail("\"gptq\" or \"gptq_v2\"");
  int64_t bits = q.at("bits").integer(2, 8);
  if (bits > 4 && bits < 8) q.at("bits").fail("2, 3, 4 or 8");
  return {"gptq", nn::PackedFormat{layout == "gptq" ? nn::PackedLayout::gptq : nn::PackedLayout::gptq_v2,
                                   static_cast<int>(bits), group_of(q, "group_size", "group_size")}};
}

Quantization read_bitsandbytes(const JsonView& q) {
  bool in_4 = q.get_boolean("load_in_4bit", false);
  if (in_4 == q.get_boolean("load_in_8bit", false)) q.fail("either load_in_4bit or load_in_8bit");
  if (in_4) return {"bitsandbytes-4bit", nn::PackedFormat{nn::PackedLayout::bnb_4bit, 4, 0}};
  return {"bitsandbytes-8bit", nn::PackedFormat{nn::PackedLayout::bnb_8bit, 8, 0}};
}

constexpr struct {
  const char* method;
  Quantization (*read)(const JsonView&);
} kMethods[] = {
    {kMethod, read_own}, {"awq", read_awq}, {"gptq", read_gptq}, {"bitsandbytes", read_bitsandbytes}};

Quantization read(const JsonView& q) {
  const std::string& method = q.at("quant_method").string();
  for (const auto& [name, read] : kMethods) {
    if (method == name) return read(q);
  }
  q.at("quant_method").fail("\"textmill\", \"awq\", \"gptq\" or \"bitsandbytes\"");
}

/// "bert.pooler.dense" as a pattern that GPTQModel leaves alone.
std::string left_alone(const std::string& layer) {
  std::string pattern = "-:^";
  for (char c : layer) pattern += c == '.' ? "\\." : std::string(1, c);
  return pattern + "$";
}

}  // namespace

std::span<const Scheme> schemes() { return kSchemes; }

const Scheme& scheme_named(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Scheme& scheme : kSchemes) {
    if (name == scheme.name) return scheme;
    names.emplace_back(scheme.name);
  }
  throw base::Error(base::Kind::invalid,
                    fmt::format("scheme '{}': expected {}{}", name, fmt::join(names, ", "),
                                base::did_you_mean(name, names)));
}

Quantization read_quantization(const JsonView& config, const base::Path& folder) {
  if (auto found = config.find("quantization_config")) return read(*found);
  base::Path file = folder / "quantize_config.json";  // AutoGPTQ's
  if (!std::filesystem::exists(file)) return {};
  Json json = format::read_json(file);
  return read_gptq(JsonView(json, file.string()));
}

Json quantization_config(const Scheme& scheme, const std::optional<nn::PackedFormat>& packing, bool own,
                         const std::vector<std::string>& plain) {
  if (own) {
    Json json = Json::object({{"quant_method", kMethod},
                              {"format_version", &scheme == kSchemes ? 1 : kFormatVersion},
                              {"scheme", scheme.name}});
    if (packing) {
      json.set("bits", packing->bits);
      json.set("group_size", packing->group);
    }
    return json;
  }
  bool is_awq = packing->layout == nn::PackedLayout::awq;
  Json json = Json::object({{"quant_method", is_awq ? "awq" : "gptq"},
                            {"bits", packing->bits},
                            {"group_size", packing->group > 0 ? packing->group : -1}});
  if (is_awq) {
    json.set("version", "gemm");
    json.set("zero_point", true);
    json.set("modules_to_not_convert", Json::array(plain));
    return json;
  }
  json.set("desc_act", scheme.weights == gptq);
  json.set("sym", false);
  json.set("checkpoint_format", "gptq");
  Json dynamic = Json::object({});
  for (const std::string& layer : plain) dynamic.set(left_alone(layer), Json::object({}));
  json.set("dynamic", std::move(dynamic));
  return json;
}

}  // namespace textmill::tasks
