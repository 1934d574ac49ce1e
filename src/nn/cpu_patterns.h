#pragma once

namespace textmill::nn {

/// Pattern::id of what the CPU engine fuses.
enum CpuPattern : int {
  kLinearChain,     // forward: a product with what follows it in its epilogue
  kLinearSiblings,  // products of one tensor as one phase; backward: their sum as one product of several terms
  kNormDropout,     // backward: the norm's kernel writes its gradient with and without dropout
  kLinearActivate,  // backward: the product multiplies by the slope
};

}  // namespace textmill::nn
