#pragma once

#include "nn/kernel/simd.h"

namespace textmill::nn::kernel {

/// What every machine has: registers of four floats, and no fused multiply-add.
struct Portable : Vectors<4, Portable> {
  static constexpr int tile_rows = 4, tile_vectors = 2;
};

}  // namespace textmill::nn::kernel
