#pragma once

#include <algorithm>

#include "nn/kernel/simd.h"

namespace textmill::nn::kernel {

/// Packs matrices as the right side of a tile: panels of `vectors` registers of columns, [panel][word of depth][column].
/// Sources are row-major with `stride` elements between rows, of type T or f32 (then narrowed to T; bytes are not).
template <class S, class T, int vectors>
struct Packing {
  using U = typename S::U;
  static constexpr int kPanel = vectors * S::width;
  static constexpr int kPerWord = 4 / sizeof(T);
  static constexpr int kLine = kPanel * 4;  // bytes of a panel at one word of depth

  static constexpr int words(int depth) { return (depth + kPerWord - 1) / kPerWord; }
  static constexpr int64_t panel_bytes(int depth) { return int64_t{words(depth)} * kLine; }

  /// Rows [first, first + kPanel) of x [rows, cols] as one panel's columns; those beyond the end are zero.
  template <class Source>
  static void transposed_panel(const Source* x, int64_t stride, int rows, int cols, int first,
                               std::byte* panel) {
    constexpr int W = S::width;
    for (int group = 0; group < vectors; group++) {
      int row = first + group * W;
      for (int word = 0; word < words(cols); word += W) {
        U square[W];
        for (int i = 0; i < W; i++) {
          square[i] = row + i < rows ? row_words(x + (row + i) * stride, cols, word * kPerWord) : U{};
        }
        S::transpose(square);
        for (int i = 0; i < std::min(W, words(cols) - word); i++) {
          S::store_words(panel + (word + i) * kLine + group * W * 4, square[i]);
        }
      }
    }
  }

  /// Rows [first, first + count) of x [.., cols] as words [first / kPerWord, ..) of all panels of a matrix that is `depth`
  /// deep. `first` is a multiple of kPerWord; a last row without a partner is paired with zeros.
  template <class Source>
  static void rows(const Source* x, int64_t stride, int cols, int first, int count, int depth,
                   std::byte* packed) {
    for (int row = first; row < first + count; row += kPerWord) {
      const Source* here = x + row * stride;
      const Source* next = row + 1 < first + count ? here + stride : nullptr;
      for (int panel = 0; panel * kPanel < cols; panel++) {
        std::byte* out = packed + panel * panel_bytes(depth) + row / kPerWord * kLine;
        int col = panel * kPanel, width = std::min(kPanel, cols - col);
        columns<S>(
            width, [&](int j, auto part) __attribute__((always_inline)) {
              S::store_words(out + j * 4, pair(here, next, col + j, part));
            });
        for (int j = (width + S::width - 1) / S::width * S::width; j < kPanel; j += S::width) {
          S::store_words(out + j * 4, U{});
        }
      }
    }
  }

  /// One word each from the same columns of two rows (of one row, if a word holds one element).
  template <class Source, class Count>
  [[gnu::always_inline]] static U pair(const Source* here, const Source* next, int col, Count count) {
    if constexpr (kPerWord == 1) {
      return (U)S::load(here + col, count);
    } else {
      U low = half(here + col, count);
      return next == nullptr ? low : low | half(next + col, count) << 16;
    }
  }

 private:
  template <class Count>
  [[gnu::always_inline]] static U half(const bf16* x, Count count) {
    return S::load_halves(x, count);
  }
  template <class Count>
  [[gnu::always_inline]] static U half(const float* x, Count count) {
    return S::widen_halves(S::narrow(S::load(x, count)));
  }

  /// A register of words of a row, from element `col` on; zero beyond the end.
  template <class Source>
  [[gnu::always_inline]] static U row_words(const Source* row, int cols, int col) {
    constexpr int kElements = S::width * kPerWord;
    if constexpr (sizeof(Source) == sizeof(T)) {
      if (cols - col >= kElements) return S::load_words(row + col);
    }
    alignas(64) T elements[kElements] = {};
    int count = std::min(kElements, cols - col);
    if constexpr (std::is_same_v<Source, int8_t>) {
      std::memcpy(elements, row + col, std::max(count, 0));
    } else {
      columns<S>(
          count, [&](int j, auto part) __attribute__((always_inline)) {
            S::store(elements + j, S::load(row + col + j, part), part);
          });
    }
    return S::load_words(elements);
  }
};

}  // namespace textmill::nn::kernel
