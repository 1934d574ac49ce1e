#pragma once

#include "nn/kernel/few_bits.h"
#include "nn/kernel/pack_impl.h"

namespace textmill::nn::kernel {

/// Panels of codes as panels of T.
template <class S, class T>
struct Widening {
  using F = typename S::F;
  using U = typename S::U;
  using Pack = Packing<S, T, S::tile_vectors>;

  /// As Packing::transposed_panel() packs the weight that the codes stand for.
  static void panel(const FewBits& b, int panel, std::byte* out) {
    const std::byte* at = b.panels + panel * b.panel_bytes;
    if (b.divisors != nullptr) {
      b.bits == 4 ? words<4, true>(b, at, out) : words<8, true>(b, at, out);
    } else {
      b.bits == 4 ? words<4, false>(b, at, out) : words<8, false>(b, at, out);
    }
  }

 private:
  template <int bits, bool divided>
  static void words(const FewBits& b, const std::byte* panel, std::byte* out) {
    int depth = 0;
    for (; depth + 1 < b.depth; depth += 2, out += Pack::kLine * (2 / Pack::kPerWord)) {
      unroll<S::tile_vectors>([&](auto j) __attribute__((always_inline)) {
        constexpr int kCol = j * S::width;
        F low = value<bits, divided, 0>(b, panel, depth, kCol),
          high = value<bits, divided, 1>(b, panel, depth + 1, kCol);
        if constexpr (Pack::kPerWord == 1) {
          S::store_words(out + kCol * 4, (U)low);
          S::store_words(out + Pack::kLine + kCol * 4, (U)high);
        } else {
          S::store_words(out + kCol * 4, S::pair(low, high));
        }
      });
    }
    if (depth == b.depth) return;
    unroll<S::tile_vectors>([&](auto j) __attribute__((always_inline)) {
      constexpr int kCol = j * S::width;
      F last = value<bits, divided, 0>(b, panel, depth, kCol);
      S::store_words(out + kCol * 4, Pack::kPerWord == 1 ? (U)last : S::pair(last, F{}));
    });
  }

  /// `odd`: depth % 2.
  template <int bits, bool divided, int odd>
  [[gnu::always_inline]] static F value(const FewBits& b, const std::byte* panel, int depth, int col) {
    const auto* scales =
        reinterpret_cast<const float*>(panel) + int64_t{b.group_of[depth]} * 2 * Pack::kPanel + col;
    int64_t line = bits == 4 ? depth / 2 : depth;
    U bytes = (U)S::load_bytes(panel + b.codes_at + line * Pack::kPanel + col);
    U code = bits == 4 ? bytes >> odd * 4 & 15u : bytes & 255u;
    // As the last bits of 2^23 it is a float; the zeros have 2^23 added to them.
    F x = S::load(scales) * ((F)(code | 0x4b000000u) - S::load(scales + Pack::kPanel));
    if constexpr (divided) x = x / S::set(b.divisors[depth]);
    return x;
  }
};

}  // namespace textmill::nn::kernel
