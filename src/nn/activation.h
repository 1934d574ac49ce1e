#pragma once

#include "nn/record.h"

namespace textmill::nn {

/// An activation and its derivative at one point, in full precision: the twin of the kernels' polynomials.
struct Activated {
  double value, slope;
};
Activated activated(Activation activation, double x);

}  // namespace textmill::nn
