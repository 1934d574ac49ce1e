#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "nn/packed.h"
#include "nn/safetensors.h"
#include "nn/weights.h"

namespace textmill::nn {

/// Gives weights the checkpoint's values, borrowed where they lie (weights that share a tensor get copies):
/// the checkpoint must outlive them or their release. Besides its own name a weight answers to the name
/// without `prefix` (bodies saved alone) and to LayerNorm.gamma and beta, as old checkpoints write norms. With a `format`
/// linear layers may lie in its layout.
///
/// Returns the weights that the checkpoint lacks. Throws invalid naming the file, the tensor, both shapes.
std::vector<Weight*> load_weights(std::span<Weight* const> weights, const Safetensors& checkpoint,
                                  const std::string& prefix, const std::optional<PackedFormat>& format = {});

/// For weights that must all be there: throws invalid naming the checkpoint and those that are missing.
void require_weights(std::span<Weight* const> missing, const Safetensors& checkpoint);

/// A fresh layer's values: matrices from a normal distribution of this deviation, cut at 2; vectors zero.
/// What a weight gets depends on the seed and its name alone.
void initialize_weights(std::span<Weight* const> weights, double deviation, uint64_t seed);

/// Writes the weights' values under their names, as they are held; weights that share a tensor together, in
/// f32: as one file, or as a model's folder holds them (write_model).
void save_weights(std::span<Weight* const> weights, const base::Path& file);
void save_model(std::span<Weight* const> weights, const base::Path& folder,
                int64_t shard_bytes = kShardBytes);

/// "encoder.up" of "encoder.up.weight".
std::string layer_of(const std::string& weight);

int64_t count_parameters(std::span<Weight* const> weights);

}  // namespace textmill::nn
