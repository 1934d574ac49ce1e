#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/files.h"
#include "format/json.h"
#include "nn/calibrate.h"
#include "nn/packed.h"

namespace textmill::tasks {

/// A way to quantize the linear layers of a model's body.
struct Scheme {
  enum class Weights : uint8_t { channels, rounded, gptq, awq };  // nn/quantized.h; nn/grouped.h
  const char *name, *is;
  int bits;  // of a weight
  Weights weights = Weights::channels;
  std::optional<nn::Range> range =
      {};               // all rows of an input share a step, found by this; else each has its own
  bool smooth = false;  // SmoothQuant, with the α that loses least
};
std::span<const Scheme> schemes();
/// Throws invalid naming what there is, and the nearest.
const Scheme& scheme_named(std::string_view name);

/// How a folder's weights are quantized, as quantization_config in its config.json says.
struct Quantization {
  std::string
      scheme;  // a Scheme's name; of another program's checkpoint "awq", "gptq", "bitsandbytes-4bit" or -8bit
  std::optional<nn::PackedFormat> packing;  // of its linear layers, if the scheme packs them

  explicit operator bool() const { return !scheme.empty(); }
};

/// Of a config.json, or the quantize_config.json beside it; nothing if the folder is not quantized. Throws invalid naming the
/// member: a method or variant that is not read, a newer format.
Quantization read_quantization(const format::JsonView& config, const base::Path& folder);

/// The "quantization_config" of a folder of our own, or (layouts gptq and awq, `own` false) as those programs read it;
/// `plain`: the names of linear layers that stay in floating point.
format::Json quantization_config(const Scheme& scheme, const std::optional<nn::PackedFormat>& packing,
                                 bool own, const std::vector<std::string>& plain);

}  // namespace textmill::tasks
