#pragma once

#include <array>

#include "nn/kernel/simd.h"
#include "nn/kernel/types.h"

namespace textmill::nn::kernel {

/// Σ coefficients[i] · x^i.
template <class S, size_t n>
[[gnu::always_inline]] inline typename S::F polynomial(typename S::F x,
                                                       const std::array<float, n>& coefficients) {
  auto sum = S::set(coefficients[n - 1]);
  unroll<static_cast<int>(n) - 1>([&](auto i) __attribute__((always_inline)) {
    sum = S::fma(sum, x, S::set(coefficients[n - 2 - i]));
  });
  return sum;
}

/// e^x within 2 ulp; 0 below -87.3, so that a masked score counts nothing; x is at most 88.
template <class S>
[[gnu::always_inline]] inline typename S::F exponential(typename S::F x) {
  using F = typename S::F;
  using U = typename S::U;
  constexpr float kShift = 0x1.8p23f;  // adding it rounds to an integer, in the low bits
  // The constants of Cephes' expf (S. Moshier): ln 2 in two parts, and (e^r - 1 - r) / r² on |r| <= ln(2) / 2.
  static constexpr std::array<float, 6> kTail = {5.0000001201e-1f, 1.6666665459e-1f, 4.1665795894e-2f,
                                                 8.3334519073e-3f, 1.3981999507e-3f, 1.9875691500e-4f};
  F clamped = S::min(S::set(88.0f), S::max(S::set(-87.3f), x));  // in this order NaN stays NaN
  F shifted = S::fma(clamped, S::set(1.44269504f), S::set(kShift));
  F n = shifted - kShift;
  F r = S::fma(n, S::set(2.12194440e-4f), S::fma(n, S::set(-0.693359375f), clamped));
  F power = S::fma(polynomial<S>(r, kTail), r * r, r + 1.0f);
  F scaled = power * (F)(((U)shifted + 127u) << 23);
  return x < -87.3f ? F{} : scaled;
}

/// Φ(x) and φ(x) of the normal distribution, within 1e-7 (Abramowitz and Stegun 7.1.26).
template <class S>
[[gnu::always_inline]] inline typename S::F normal(typename S::F x, typename S::F* density) {
  using F = typename S::F;
  static constexpr std::array<float, 5> kErfc = {0.254829592f, -0.284496736f, 1.421413741f, -1.453152027f,
                                                 1.061405429f};
  F e = exponential<S>(x * x * -0.5f);
  F t = 1.0f / S::fma(S::abs(x), S::set(0.3275911f * 0.70710678f), S::set(1.0f));
  F upper = polynomial<S>(t, kErfc) * t * e * 0.5f;
  *density = e * 0.3989422804f;
  return x < F{} ? upper : 1.0f - upper;
}

/// 2^x for x <= 1, within 2e-7 of it; exactly 0 below -126.
template <class S>
[[gnu::always_inline]] inline typename S::F power_of_two(typename S::F x) {
  using F = typename S::F;
  using U = typename S::U;
  // 2^r on |r| <= 1/2; fitted to minimize the largest relative error, with 1 at 0.
  static constexpr std::array<float, 6> kPower = {1.000000000e+00f, 6.931469776e-01f, 2.402224209e-01f,
                                                  5.550733744e-02f, 9.671512649e-03f, 1.326472707e-03f};
  F shifted = S::max(S::set(-126.0f), x) + 0x1.8p23f;  // rounds to an integer, in the low bits
  F r = x - (shifted - 0x1.8p23f);
  F scaled = (F)((U)polynomial<S>(r, kPower) + ((U)shifted << 23));
  return x >= -126.0f ? scaled : S::max(F{}, x);  // of NaN NaN
}

template <class S>
[[gnu::always_inline]] inline typename S::F hyperbolic_tangent(typename S::F x) {
  return 1.0f - 2.0f / (exponential<S>(x + x) + 1.0f);
}

/// x · Φ(x) and its slope within 3e-4, without division: enough where they are rounded to bf16. Fitted to minimize the
/// largest error on |x| <= 4.
template <class S>
[[gnu::always_inline]] inline typename S::F rough_gelu(typename S::F x, typename S::F* slope) {
  static constexpr std::array<float, 8> kValue = {3.986733945e-01f,  -6.588784383e-02f, 9.505398786e-03f,
                                                  -1.006490528e-03f, 7.485506378e-05f,  -3.657134239e-06f,
                                                  1.041961004e-07f,  -1.301295389e-09f};
  static constexpr std::array<float, 8> kSlope = {7.967216370e-01f,  -2.620298345e-01f, 5.591481854e-02f,
                                                  -7.687439388e-03f, 6.876450670e-04f,  -3.845954009e-05f,
                                                  1.213804848e-06f,  -1.641976529e-08f};
  auto c = S::min(S::max(x, S::set(-4.0f)), S::set(4.0f)), square = c * c;
  if (slope != nullptr) *slope = S::fma(polynomial<S>(square, kSlope), c, S::set(0.5f));
  return x * S::fma(polynomial<S>(square, kValue), c, S::set(0.5f));
}

/// activation(x), and its derivative if `slope` is wanted. T is the type that the result is stored in.
template <class S, class T, Activation activation>
[[gnu::always_inline]] inline typename S::F activate(typename S::F x, typename S::F* slope) {
  using F = typename S::F;
  if constexpr (activation == Activation::gelu && sizeof(T) == 2) {
    return rough_gelu<S>(x, slope);
  } else if constexpr (activation == Activation::gelu) {
    F density, below = normal<S>(x, &density);
    if (slope != nullptr) *slope = S::fma(x, density, below);
    return x * below;
  } else if constexpr (activation == Activation::gelu_tanh) {
    // 0.5 x (1 + tanh(u)), u = sqrt(2/π) (x + 0.044715 x³) (Hendrycks and Gimpel 2016).
    F cubic = 0.044715f * x * x, u = 0.7978845608f * x * (1.0f + cubic), t = hyperbolic_tangent<S>(u);
    if (slope != nullptr) {
      *slope = 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * 0.7978845608f * (1.0f + 3.0f * cubic);
    }
    return 0.5f * x * (1.0f + t);
  } else if constexpr (activation == Activation::relu) {
    if (slope != nullptr) *slope = x > F{} ? S::set(1.0f) : F{};
    return S::max(F{}, x);  // in this order NaN stays NaN
  } else if constexpr (activation == Activation::silu) {
    F gate = 1.0f / (1.0f + exponential<S>(-x));
    if (slope != nullptr) *slope = gate * (1.0f + x * (1.0f - gate));
    return x * gate;
  } else if constexpr (activation == Activation::tanh) {
    F t = hyperbolic_tangent<S>(x);
    if (slope != nullptr) *slope = 1.0f - t * t;
    return t;
  } else {
    if (slope != nullptr) *slope = S::set(1.0f);
    return x;
  }
}

/// Calls body(integral_constant) for the activation, so that loops inside know it.
template <class Body>
inline void with_activation(Activation activation, const Body& body) {
  switch (activation) {
    case Activation::none: return body(std::integral_constant<Activation, Activation::none>());
    case Activation::gelu: return body(std::integral_constant<Activation, Activation::gelu>());
    case Activation::gelu_tanh: return body(std::integral_constant<Activation, Activation::gelu_tanh>());
    case Activation::relu: return body(std::integral_constant<Activation, Activation::relu>());
    case Activation::silu: return body(std::integral_constant<Activation, Activation::silu>());
    case Activation::tanh: return body(std::integral_constant<Activation, Activation::tanh>());
  }
}

/// The factors of dropout for the elements from `column` on, 0 or 1 / (1 - p), from dropout_hash() of each.
template <class S>
[[gnu::always_inline]] inline typename S::F dropout_factors(DropoutRate rate, DropoutRow row, int column) {
  constexpr uint32_t kSpread = 0x9e3779b9u;
  auto x = S::count_up() * kSpread + (static_cast<uint32_t>(column) * kSpread + row.a);
  x = (x ^ x >> 16) * 0x7feb352du;
  x = (x ^ row.b ^ x >> 15) * 0x846ca68bu;
  x ^= x >> 16;
  return x >= rate.threshold ? S::set(rate.scale) : typename S::F{};
}

}  // namespace textmill::nn::kernel
