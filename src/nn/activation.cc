#include "nn/activation.h"

#include <cmath>
#include <numbers>

namespace textmill::nn {

Activated activated(Activation activation, double x) {
  using std::numbers::inv_sqrtpi, std::numbers::sqrt2;
  switch (activation) {
    case Activation::gelu: {
      double below = 0.5 * (1 + std::erf(x / sqrt2));
      return {x * below, below + x * std::exp(-0.5 * x * x) * inv_sqrtpi / sqrt2};
    }
    case Activation::gelu_tanh: {
      constexpr double kCubic = 0.044715;
      double k = sqrt2 * inv_sqrtpi, t = std::tanh(k * (x + kCubic * x * x * x));
      return {0.5 * x * (1 + t), 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * k * (1 + 3 * kCubic * x * x)};
    }
    case Activation::relu: return x > 0 ? Activated{x, 1} : Activated{0, 0};
    case Activation::silu: {
      double sigmoid = 1 / (1 + std::exp(-x));
      return {x * sigmoid, sigmoid * (1 + x * (1 - sigmoid))};
    }
    case Activation::tanh: {
      double t = std::tanh(x);
      return {t, 1 - t * t};
    }
  }
  return {};
}

}  // namespace textmill::nn
