#pragma once

#include <span>

#include "nn/packed.h"

namespace textmill::nn::kernel {
class Pool;
}

namespace textmill::nn {

// A linear layer's weight [out, in] in few bits: `group` input columns (0: all) of an output channel share a scale (f16)
// and a zero from 1 on, so that each of PackedLayout's layouts can hold it. x are rows [n, in] of what the layer reads.
// All throw invalid naming the weight if it has a number that is not finite.

/// Each value to the nearest step between its group's least and largest.
GroupedWeight round_to_groups(const Weight& weight, int bits, int group);

/// Column after column, what rounding lost made up for by the columns to come (Frantar et al. 2022): H = xᵀx, damped by 1 %
/// of its mean diagonal; columns with the largest diagonal first, and groups in that order.
GroupedWeight gptq(const Weight& weight, std::span<const float> x, int bits, int group, kernel::Pool& pool);

/// Columns scaled by mean |x|^α before they are rounded, and back (Lin et al. 2023): the α of 0, 1/20, ... 19/20 whose output
/// on at most kAwqRows of x is nearest to the weight's own. Sets GroupedWeight::column_scales.
inline constexpr int kAwqRows = 512;
GroupedWeight awq(const Weight& weight, std::span<const float> x, int bits, int group, kernel::Pool& pool);

}  // namespace textmill::nn
