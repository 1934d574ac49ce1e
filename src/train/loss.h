#pragma once

#include <cstdint>
#include <span>

namespace textmill::train {

/// Softmax cross-entropy of rows [labels.size(), classes], each weighed by `row_weight`: writes the gradient of the sum
/// into `gradient` (of the same shape) and returns the sum. With 1/rows of the whole step as the weight, the parts of a
/// step add up to its mean.
double cross_entropy_root(std::span<const float> logits, std::span<const int32_t> labels, double row_weight,
                          std::span<float> gradient);

}  // namespace textmill::train
