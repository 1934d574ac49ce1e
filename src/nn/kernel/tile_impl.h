#pragma once

#include <algorithm>
#include <array>

#include "nn/kernel/simd.h"

namespace textmill::nn::kernel {

/// One term of a tile's sums: rows of `a` (word w of row i at a + i · row + w · step) times a panel of b.
struct Strip {
  const std::byte* a;
  ptrdiff_t row, step;
  const std::byte* b;  // packed: [words][vectors · width] words
  int words;           // whole ones
  int tail;            // bytes of `a` in a last word, of which the rest is not ours to read
  const std::byte*
      prefetch;  // what will be read next; one register's line and its neighbours per word of this strip
  ptrdiff_t prefetch_step;
};

template <class S, class T, int rows, int vectors>
[[gnu::always_inline]] inline void tile_step(typename S::template Sum<T> (&sums)[rows][vectors],
                                             const typename S::U (&a)[rows], const std::byte* b) {
  typename S::U registers[vectors];
  unroll<vectors>([&](auto j)
                      __attribute__((always_inline)) { registers[j] = S::load_words(b + j * 4 * S::width); });
  unroll<rows>([&](auto i) __attribute__((always_inline)) {
    unroll<vectors>([&](auto j) __attribute__((always_inline)) {
      sums[i][j] = S::dot(T(), sums[i][j], a[i], registers[j]);
    });
  });
}

/// out [rows, stride] = the sum of the strips' products, `vectors` registers wide: floats, or 32-bit integers if T is
/// int8_t. All sums stay in registers.
template <class S, class T, int rows, int vectors>
[[gnu::noinline]] void tile(const Strip* strips, int count, float* out, ptrdiff_t stride) {
  using Sum = typename S::template Sum<T>;
  Sum sums[rows][vectors] = {};
  for (const Strip* strip = strips; strip < strips + count; strip++) {
    const std::byte *a = strip->a, *b = strip->b, *prefetch = strip->prefetch;
    typename S::U words[rows];
    for (int w = strip->words; w > 0; w--) {
      unroll<rows>([&](auto i)
                       __attribute__((always_inline)) { words[i] = S::broadcast(a + i * strip->row); });
      unroll<vectors>([&](auto j) __attribute__((always_inline)) { __builtin_prefetch(prefetch + j * 64); });
      tile_step<S, T>(sums, words, b);
      a += strip->step;
      b += vectors * S::width * 4;
      prefetch += strip->prefetch_step;
    }
    if (strip->tail == 0) continue;
    unroll<rows>([&](auto i) __attribute__((always_inline)) {
      uint32_t word = 0;
      std::memcpy(&word, a + i * strip->row, strip->tail);
      words[i] = S::set_word(word);
    });
    tile_step<S, T>(sums, words, b);
  }
  unroll<rows>([&](auto i) __attribute__((always_inline)) {
    unroll<vectors>([&](auto j) __attribute__((always_inline)) {
      S::template store_raw<Sum>(out + i * stride + j * S::width, sums[i][j], Full());
    });
  });
}

using Tile = void (*)(const Strip* strips, int count, float* out, ptrdiff_t stride);

/// The tile of `rows` <= S::tile_rows rows.
template <class S, class T, int vectors>
Tile tile_of(int rows) {
  static constexpr auto kTiles = []<int... i>(std::integer_sequence<int, i...>) {
    return std::array<Tile, sizeof...(i)>{tile<S, T, i + 1, vectors>...};
  }(std::make_integer_sequence<int, S::tile_rows>());
  return kTiles[rows - 1];
}

/// Splits [first, first + count) into pieces of at most `most`, as even as can be, and calls body(first, count) for each.
template <class Body>
[[gnu::always_inline]] inline void split_evenly(int first, int count, int most, const Body& body) {
  int pieces = (count + most - 1) / most;
  for (int piece = 0; piece < pieces; piece++) {
    int begin = first + static_cast<int>(int64_t{count} * piece / pieces);
    int end = first + static_cast<int>(int64_t{count} * (piece + 1) / pieces);
    body(begin, end - begin);
  }
}

}  // namespace textmill::nn::kernel
