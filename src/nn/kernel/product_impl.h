#pragma once

#include "nn/kernel/kernels.h"
#include "nn/kernel/math_impl.h"
#include "nn/kernel/tile_impl.h"

namespace textmill::nn::kernel {

template <class S, class T>
struct ProductOf {
  using F = typename S::F;
  using U = typename S::U;
  static constexpr int kPanel = S::tile_vectors * S::width;
  static constexpr int kPerWord = 4 / sizeof(T);
  static constexpr size_t kLine = kPanel * 4;  // of packed memory: a panel's words at one depth

  static int words(int depth) { return (depth + kPerWord - 1) / kPerWord; }

  // ---- products

  static void multiply(const Product& product, int first_row, int rows, int first_panel, int panels) {
    if (product.out_type == Type::f32) {
      multiply_into<float>(product, first_row, rows, first_panel, panels);
    } else {
      multiply_into<T>(product, first_row, rows, first_panel, panels);
    }
  }

  template <class Out>
  static void multiply_into(const Product& product, int first_row, int rows, int first_panel, int panels) {
    alignas(64) float sums[S::tile_rows * kPanel];
    int tiles = (rows + S::tile_rows - 1) / S::tile_rows;
    for (int panel = first_panel; panel < first_panel + panels; panel++) {
      int index = 0;
      split_evenly(first_row, rows, S::tile_rows, [&](int row, int count) {
        std::array<Strip, Product::kMaxTerms> strips;
        for (int t = 0; t < product.term_count; t++) {
          strips[t] = strip(product.terms[t], row, panel, index, tiles);
        }
        tile_of<S, T, S::tile_vectors>(count)(strips.data(), product.term_count, sums, kPanel);
        finish<Out>(product, sums, row, count, panel * kPanel);
        index++;
      });
    }
  }

  /// While the rows of a panel are worked off, the next panel is fetched, evenly: tile `index` of `tiles` fetches its
  /// share.
  static Strip strip(const Term& term, int row, int panel, int index, int tiles) {
    size_t panel_bytes = words(term.depth) * kLine;
    ptrdiff_t row_bytes = ptrdiff_t{term.depth} * sizeof(T);
    const std::byte* b = term.b + panel * panel_bytes;
    return {.a = static_cast<const std::byte*>(term.a) + row * row_bytes,
            .row = row_bytes,
            .step = 4,
            .b = b,
            .words = term.depth / kPerWord,
            .tail = static_cast<int>(term.depth % kPerWord * sizeof(T)),
            .prefetch = b + panel_bytes + panel_bytes * index / tiles,
            .prefetch_step = static_cast<ptrdiff_t>(kLine) / tiles};
  }

  // ---- from sums to results

  template <class Out>
  static void finish(const Product& p, const float* sums, int first_row, int rows, int first_col) {
    with_activation(
        p.activation, [&](auto activation) __attribute__((always_inline)) {
          for (int i = 0; i < rows; i++)
            finish_row<Out, activation>(p, sums + i * kPanel, first_row + i, first_col);
        });
  }

  template <class Out, Activation activation>
  [[gnu::always_inline]] static void finish_row(const Product& p, const float* sums, int row, int first_col) {
    int64_t at = int64_t{row} * p.cols + first_col;
    Out* out = static_cast<Out*>(p.out) + at;
    const T *factor = static_cast<const T*>(p.factor) + at,
            *residual = static_cast<const T*>(p.residual) + at;
    T* slopes = static_cast<T*>(p.slope) + at;
    DropoutRow dropout{};
    if (p.dropout) dropout = p.dropout.row(row);
    columns<S>(
        std::min(kPanel, p.cols - first_col), [&](int j, auto count) __attribute__((always_inline)) {
          F x = S::load(sums + j) * p.scale;
          if (p.bias != nullptr) x = x + S::load(p.bias + first_col + j, count);
          if constexpr (activation != Activation::none) {
            F slope;
            x = activate<S, T, activation>(x, p.slope != nullptr ? &slope : nullptr);
            if (p.slope != nullptr) S::store(slopes + j, slope, count);
          }
          if (p.factor != nullptr) x = x * S::load(factor + j, count);
          if (p.dropout) x = x * dropout_factors<S>(p.dropout.rate, dropout, first_col + j);
          if (p.residual != nullptr) x = x + S::load(residual + j, count);
          S::store(out + j, x, count);
        });
  }

  // ---- packing

  /// Panel `panel` of wᵀ: columns are rows of w.
  static void pack_transposed(const float* w, int rows, int cols, int panel, std::byte* packed) {
    constexpr int W = S::width;
    std::byte* out = packed + panel * words(cols) * kLine;
    for (int group = 0; group < S::tile_vectors; group++) {
      int row = panel * kPanel + group * W;
      for (int col = 0; col < cols; col += W * kPerWord) {
        U square[W];
        for (int i = 0; i < W; i++)
          square[i] = row + i < rows ? row_words(w + int64_t{row + i} * cols, cols, col) : U{};
        S::transpose(square);
        int word = col / kPerWord, count = std::min(W, words(cols) - word);
        for (int i = 0; i < count; i++) S::store_words(out + (word + i) * kLine + group * W * 4, square[i]);
      }
    }
  }

  /// Width · kPerWord elements of a row from `col` on, as words; beyond the end zero.
  [[gnu::always_inline]] static U row_words(const float* row, int cols, int col) {
    if constexpr (sizeof(T) == 4) {
      return cols - col >= S::width ? S::load_words(row + col) : S::load_words(row + col, Part{cols - col});
    } else {
      alignas(64) bf16 halves[2 * S::width] = {};
      columns<S>(
          std::min(2 * S::width, cols - col), [&](int j, auto count) __attribute__((always_inline)) {
            S::store(halves + j, S::load(row + col + j, count), count);
          });
      return S::load_words(halves);
    }
  }

  /// Rows [first, first + count) of x [rows, cols] as depth. `first` is even; an odd count only at the end.
  template <class Source>
  static void pack(const Source* x, int rows, int cols, int first, int count, std::byte* packed) {
    for (int row = first; row < first + count; row += kPerWord) {
      const Source* here = x + int64_t{row} * cols;
      const Source* next = row + 1 < first + count ? here + cols : nullptr;
      for (int panel = 0; panel * kPanel < cols; panel++) {
        std::byte* out = packed + (int64_t{panel} * words(rows) + row / kPerWord) * kLine;
        int col = panel * kPanel, width = std::min(kPanel, cols - col);
        columns<S>(
            width, [&](int j, auto part) __attribute__((always_inline)) {
              S::store_words(out + j * 4, pair(here, next, col + j, part));
            });
        int filled = (width + S::width - 1) / S::width * S::width;
        std::memset(out + filled * 4, 0, (kPanel - filled) * 4);
      }
    }
  }

  template <class Source, class Count>
  [[gnu::always_inline]] static U pair(const Source* here, const Source* next, int col, Count count) {
    if constexpr (sizeof(T) == 4) {
      return (U)S::load(here + col, count);
    } else {
      U low = half(here + col, count);
      return next == nullptr ? low : low | half(next + col, count) << 16;
    }
  }
  template <class Count>
  [[gnu::always_inline]] static U half(const bf16* x, Count count) {
    return S::load_halves(x, count);
  }
  template <class Count>
  [[gnu::always_inline]] static U half(const float* x, Count count) {
    return S::widen_halves(S::narrow(S::load(x, count)));
  }

  static void pack_weight(const float* w, int rows, int cols, int first, int count, std::byte* packed) {
    pack(w, rows, cols, first, count, packed);
  }

  /// The same for activations; adds their columns up in `sums` [cols], if wanted.
  static void pack_activations(const void* x, int rows, int cols, int first, int count, std::byte* packed,
                               float* sums) {
    const T* values = static_cast<const T*>(x);
    pack(values, rows, cols, first, count, packed);
    if (sums == nullptr) return;
    columns<S>(
        cols, [&](int j, auto part) __attribute__((always_inline)) {
          F sum{};
          for (int row = first; row < first + count; row++)
            sum = sum + S::load(values + int64_t{row} * cols + j, part);
          S::store(sums + j, sum, part);
        });
  }

  // ---- gradients of weights

  static void weight_gradient(const PackedGradient& g, int panel_out, int first_in, int panels_in) {
    alignas(64) float sums[S::tile_rows * kPanel];
    int count_out = std::min(kPanel, g.out - panel_out * kPanel);
    for (int depth = 0; depth == 0 || depth < g.words; depth += kGradientWords) {
      int step = std::min(kGradientWords, g.words - depth);
      bool add = g.accumulate || depth > 0;
      for (int panel = first_in; panel < first_in + panels_in; panel++) {
        const std::byte* a = g.dy + (int64_t{panel_out} * g.words + depth) * kLine;
        const std::byte* b = g.x + (int64_t{panel} * g.words + depth) * kLine;
        split_evenly(0, count_out, S::tile_rows, [&](int row, int rows) {
          Strip strip{.a = a + row * 4,
                      .row = 4,
                      .step = kLine,
                      .b = b,
                      .words = step,
                      .tail = 0,
                      .prefetch = b,
                      .prefetch_step = 0};
          tile_of<S, T, S::tile_vectors>(rows)(&strip, 1, sums, kPanel);
          for (int i = 0; i < rows; i++) {
            add_row(sums + i * kPanel, g.dw + (int64_t{panel_out} * kPanel + row + i) * g.in + panel * kPanel,
                    std::min(kPanel, g.in - panel * kPanel), add);
          }
        });
      }
    }
  }

  [[gnu::always_inline]] static void add_row(const float* sums, float* out, int cols, bool add) {
    columns<S>(
        cols, [&](int j, auto count) __attribute__((always_inline)) {
          F x = S::load(sums + j);
          S::store(out + j, add ? S::load(out + j, count) + x : x, count);
        });
  }

  static constexpr ProductKernels kTable = {multiply, pack_transposed, pack_weight, pack_activations,
                                            weight_gradient};
};

}  // namespace textmill::nn::kernel
