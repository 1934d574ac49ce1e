#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "nn/kernel/bf16.h"

// Kernels are templates over a `Simd` (Avx512, Avx2, Portable): a register width and a few operations, everything else
// being arithmetic of the compiler's own vector types. Each instruction set has one file, path_*.cc, which includes the
// standard headers first, then turns on its instructions, then includes the kernels. So no function of the standard
// library is ever compiled for instructions that a machine may lack; and for the same reason the headers included there
// hold nothing but templates over the Simd and lambdas inside them.

namespace textmill::nn::kernel {

// How many elements of a register take part in a load or store: all, or the first few at the end of a row.
struct Full {};
struct Part {
  int count;
};

template <int count, class Body>
[[gnu::always_inline]] inline void unroll(const Body& body) {
  [&]<int... i>(std::integer_sequence<int, i...>) __attribute__((always_inline)) {
    (body(std::integral_constant<int, i>()), ...);
  }
  (std::make_integer_sequence<int, count>());
}

/// Calls body(first, Full or Part) for each register of a row of `count` elements.
template <class S, class Body>
[[gnu::always_inline]] inline void columns(int count, const Body& body) {
  int first = 0;
  for (; first + S::width <= count; first += S::width) body(first, Full());
  if (first < count) body(first, Part{count - first});
}

template <int W>
struct Lanes;
template <>
struct Lanes<4> {
  typedef float F __attribute__((vector_size(16)));
  typedef uint32_t U __attribute__((vector_size(16)));
  typedef double D __attribute__((vector_size(32)));
  typedef int32_t I __attribute__((vector_size(16)));
  typedef uint16_t H __attribute__((vector_size(8)));
  typedef int8_t B __attribute__((vector_size(4)));
};
template <>
struct Lanes<8> {
  typedef float F __attribute__((vector_size(32)));
  typedef uint32_t U __attribute__((vector_size(32)));
  typedef double D __attribute__((vector_size(64)));
  typedef int32_t I __attribute__((vector_size(32)));
  typedef uint16_t H __attribute__((vector_size(16)));
  typedef int8_t B __attribute__((vector_size(8)));
};
template <>
struct Lanes<16> {
  typedef float F __attribute__((vector_size(64)));
  typedef uint32_t U __attribute__((vector_size(64)));
  typedef double D __attribute__((vector_size(128)));
  typedef int32_t I __attribute__((vector_size(64)));
  typedef uint16_t H __attribute__((vector_size(32)));
  typedef int8_t B __attribute__((vector_size(16)));
};

/// `W` floats or 32-bit words, in vector types that every compiler knows. What an instruction set does better it
/// overrides in `Self`.
template <int W, class Self>
struct Vectors {
  static constexpr int width = W;
  using F = typename Lanes<W>::F;
  using U = typename Lanes<W>::U;
  using H = typename Lanes<W>::H;
  using D = typename Lanes<W>::D;
  using I = typename Lanes<W>::I;
  using B = typename Lanes<W>::B;
  /// What products of T are summed in.
  template <class T>
  using Sum = std::conditional_t<std::is_same_v<T, int8_t>, U, F>;

  [[gnu::always_inline]] static F set(float x) { return F{} + x; }
  [[gnu::always_inline]] static U set_word(uint32_t x) { return U{} + x; }
  [[gnu::always_inline]] static U count_up() {
    U x;
    for (int i = 0; i < W; i++) x[i] = i;
    return x;
  }
  /// The word at `p` in every place.
  [[gnu::always_inline]] static U broadcast(const std::byte* p) {
    uint32_t word;
    std::memcpy(&word, p, 4);
    return set_word(word);
  }
  [[gnu::always_inline]] static F fma(F a, F b, F c) { return a * b + c; }
  [[gnu::always_inline]] static F min(F a, F b) { return a < b ? a : b; }
  [[gnu::always_inline]] static F max(F a, F b) { return a > b ? a : b; }
  [[gnu::always_inline]] static F sqrt(F x) {
    for (int i = 0; i < W; i++) x[i] = __builtin_sqrtf(x[i]);
    return x;
  }
  /// The nearest integers, ties to even; |x| < 2^31.
  [[gnu::always_inline]] static I round(F x) {
    I rounded;
    for (int i = 0; i < W; i++) rounded[i] = static_cast<int32_t>(__builtin_lrintf(x[i]));
    return rounded;
  }
  [[gnu::always_inline]] static F abs(F x) { return (F)((U)x & 0x7fffffffu); }

  template <class T>
  [[gnu::always_inline]] static T load_raw(const void* p, Full = {}) {
    T x;
    std::memcpy(&x, p, sizeof(T));
    return x;
  }
  template <class T>
  [[gnu::always_inline]] static T load_raw(const void* p, Part part) {
    T x{};
    std::memcpy(&x, p, part.count * sizeof(T) / W);
    return x;
  }
  template <class T>
  [[gnu::always_inline]] static void store_raw(void* p, T x, Full = {}) {
    std::memcpy(p, &x, sizeof(T));
  }
  template <class T>
  [[gnu::always_inline]] static void store_raw(void* p, T x, Part part) {
    std::memcpy(p, &x, part.count * sizeof(T) / W);
  }

  template <class Count = Full>
  [[gnu::always_inline]] static U load_words(const void* p, Count count = {}) {
    return Self::template load_raw<U>(p, count);
  }
  template <class Count = Full>
  [[gnu::always_inline]] static void store_words(void* p, U x, Count count = {}) {
    Self::template store_raw<U>(p, x, count);
  }
  /// 16-bit numbers as words.
  template <class Count = Full>
  [[gnu::always_inline]] static U load_halves(const void* p, Count count = {}) {
    return Self::widen_halves(Self::template load_raw<H>(p, count));
  }
  [[gnu::always_inline]] static U widen_halves(H x) { return __builtin_convertvector(x, U); }
  template <class Count = Full>
  [[gnu::always_inline]] static F load(const float* p, Count count = {}) {
    return Self::template load_raw<F>(p, count);
  }
  template <class Count = Full>
  [[gnu::always_inline]] static F load(const bf16* p, Count count = {}) {
    return (F)(load_halves(p, count) << 16);
  }
  template <class Count = Full>
  [[gnu::always_inline]] static F load(const int8_t* p, Count count = {}) {
    return __builtin_convertvector(Self::widen_bytes(Self::template load_raw<B>(p, count)), F);
  }
  /// Signed ones as words.
  [[gnu::always_inline]] static I load_bytes(const void* p) {
    return Self::widen_bytes(Self::template load_raw<B>(p));
  }
  [[gnu::always_inline]] static I widen_bytes(B x) { return __builtin_convertvector(x, I); }
  /// The low bytes of words.
  template <class Count = Full>
  [[gnu::always_inline]] static void store_bytes(uint8_t* p, I x, Count count = {}) {
    Self::template store_raw<B>(p, Self::low_bytes(x), count);
  }
  [[gnu::always_inline]] static B low_bytes(I x) { return __builtin_convertvector(x, B); }
  template <class Count = Full>
  [[gnu::always_inline]] static void store(float* p, F x, Count count = {}) {
    Self::template store_raw<F>(p, x, count);
  }
  template <class Count = Full>
  [[gnu::always_inline]] static void store(bf16* p, F x, Count count = {}) {
    Self::template store_raw<H>(p, Self::narrow(x), count);
  }
  /// Words of two bf16.
  [[gnu::always_inline]] static U pair(F low, F high) {
    return Self::widen_halves(Self::narrow(low)) | Self::widen_halves(Self::narrow(high)) << 16;
  }
  /// As to_bf16.
  [[gnu::always_inline]] static H narrow(F x) {
    U bits = (U)x;
    U rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
    U nan = bits >> 16 | 0x40u;
    return __builtin_convertvector((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded, H);
  }

  // A product's inner step: words of `T`s, multiplied and added to floats, or to 32-bit integers. A word holds one float,
  // two bf16, or four bytes: unsigned ones of a, signed ones of b.
  [[gnu::always_inline]] static F dot(float, F sum, U a, U b) { return Self::fma((F)a, (F)b, sum); }
  [[gnu::always_inline]] static F dot(bf16, F sum, U a, U b) {
    sum = Self::fma((F)(a << 16), (F)(b << 16), sum);
    return Self::fma((F)(a & 0xffff0000u), (F)(b & 0xffff0000u), sum);
  }
  [[gnu::always_inline]] static U dot(int8_t, U sum, U a, U b) {
    unroll<4>([&](auto i) __attribute__((always_inline)) {
      I x = (I)(a >> 8 * i & 255u), y = (I)(b << (24 - 8 * i)) >> 24;
      sum += (U)(x * y);
    });
    return sum;
  }

  [[gnu::always_inline]] static float sum(F x) {
    return fold(
        x, [](F a, F b) __attribute__((always_inline)) { return a + b; });
  }
  [[gnu::always_inline]] static float largest(F x) {
    return fold(
        x, [](F a, F b) __attribute__((always_inline)) { return Self::max(a, b); });
  }

  /// Turns rows of a W x W square of words into columns.
  [[gnu::always_inline]] static void transpose(U (&rows)[W]) { transpose_step<W / 2>(rows); }

 private:
  template <int distance = W / 2, class Op>
  [[gnu::always_inline]] static float fold(F x, const Op& op) {
    x = op(x, from<distance>(x, x, std::make_integer_sequence<int, W>()));
    if constexpr (distance == 1) {
      return x[0];
    } else {
      return fold<distance / 2>(x, op);
    }
  }
  /// Element i of the result is x[i + distance].
  template <int distance, class V, int... i>
  [[gnu::always_inline]] static V from(V x, V, std::integer_sequence<int, i...>) {
    return __builtin_shufflevector(x, x, (i + distance) % W...);
  }
  /// Swaps the upper right with the lower left block of each square of 2 · distance, then goes on inside the blocks.
  template <int distance>
  [[gnu::always_inline]] static void transpose_step(U (&rows)[W]) {
    unroll<W>([&](auto row) __attribute__((always_inline)) {
      if constexpr ((row & distance) == 0) {
        U a = rows[row], b = rows[row + distance];
        exchange<distance>(a, b, rows[row], rows[row + distance], std::make_integer_sequence<int, W>());
      }
    });
    if constexpr (distance > 1) transpose_step<distance / 2>(rows);
  }
  template <int distance, int... i>
  [[gnu::always_inline]] static void exchange(U a, U b, U& upper, U& lower,
                                              std::integer_sequence<int, i...>) {
    upper = __builtin_shufflevector(a, b, ((i & distance) == 0 ? i : W + i - distance)...);
    lower = __builtin_shufflevector(a, b, ((i & distance) == 0 ? i + distance : W + i)...);
  }
};

}  // namespace textmill::nn::kernel
