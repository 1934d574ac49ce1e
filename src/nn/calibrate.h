#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "nn/weights.h"

namespace textmill::nn {

/// How large a layer's input may be before it is cut off, when all rows share one step: its largest magnitude; the 99.99th
/// percentile of magnitudes; what keeps the distribution over 2048 bins nearest to its own in 128 steps, by Kullback-Leibler
/// divergence; or the 1/100 of the largest with the smallest squared error, of 2048 bins' middles.
enum class Range : uint8_t { largest, percentile, divergence, squared_error };

/// Of the magnitudes of `x`, which is not empty. 0 if all are.
float input_range(std::span<const float> x, Range range);

/// SmoothQuant's scales of columns (Xiao et al. 2022): max |x|^α / max |w|^(1-α), where both are known, else 1. x is [n, cols],
/// the weights are of all layers that read it.
std::vector<float> smoothing(std::span<const float> x, std::span<const Weight* const> weights, double alpha);

}  // namespace textmill::nn
