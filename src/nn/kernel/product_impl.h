#pragma once

#include "nn/kernel/few_bits_impl.h"
#include "nn/kernel/kernels.h"
#include "nn/kernel/math_impl.h"
#include "nn/kernel/pack_impl.h"
#include "nn/kernel/tile_impl.h"

namespace textmill::nn::kernel {

template <class S, class T>
struct ProductOf {
  using F = typename S::F;
  using Pack = Packing<S, T, S::tile_vectors>;
  static constexpr int kPanel = Pack::kPanel, kLine = Pack::kLine;

  // ---- products

  static void multiply(const Product& product, int first_row, int rows, int first_panel, int panels,
                       std::byte* scratch) {
    multiply_words<T>(product, first_row, rows, first_panel, panels, scratch);
  }

  static void multiply_in_8_bits(const Product& product, int first_row, int rows, int first_panel, int panels,
                                 std::byte* scratch) {
    multiply_words<int8_t>(product, first_row, rows, first_panel, panels, scratch);
  }

  /// Word: the type of a and b.
  template <class Word>
  static void multiply_words(const Product& product, int first_row, int rows, int first_panel, int panels,
                             std::byte* scratch) {
    if (product.out_type == Type::f32) {
      multiply_into<float, Word>(product, first_row, rows, first_panel, panels, scratch);
    } else {
      multiply_into<T, Word>(product, first_row, rows, first_panel, panels, scratch);
    }
  }

  template <class Out, class Word>
  static void multiply_into(const Product& product, int first_row, int rows, int first_panel, int panels,
                            std::byte* scratch) {
    alignas(64) float sums[S::tile_rows * kPanel];
    int tiles = (rows + S::tile_rows - 1) / S::tile_rows;
    for (int panel = first_panel; panel < first_panel + panels; panel++) {
      if constexpr (!std::is_same_v<Word, int8_t>) {
        for (int t = 0; t < product.term_count; t++) {
          if (const FewBits* b = product.terms[t].few_bits) Widening<S, T>::panel(*b, panel, scratch);
        }
      }
      int index = 0;
      split_evenly(first_row, rows, S::tile_rows, [&](int row, int count) {
        std::array<Strip, Product::kMaxTerms> strips;
        for (int t = 0; t < product.term_count; t++) {
          strips[t] = strip<Word>(product.terms[t], row, panel, index, tiles, scratch);
        }
        tile_of<S, Word, S::tile_vectors>(count)(strips.data(), product.term_count, sums, kPanel);
        finish<Out, Word>(product, sums, row, count, panel * kPanel);
        index++;
      });
    }
  }

  /// While the rows of a panel are worked off, the next panel is fetched, evenly: tile `index` of `tiles` fetches its
  /// share.
  template <class Word>
  static Strip strip(const Term& term, int row, int panel, int index, int tiles, const std::byte* widened) {
    constexpr int kPerWord = 4 / sizeof(Word);
    ptrdiff_t panel_bytes = Packing<S, Word, S::tile_vectors>::panel_bytes(term.depth);
    ptrdiff_t row_bytes = ptrdiff_t{term.depth} * sizeof(Word);
    // What was widened is in cache; of the codes, which are read in order, the next come by themselves.
    const std::byte* b = term.few_bits != nullptr ? widened : term.b + panel * panel_bytes;
    const std::byte* next = term.few_bits != nullptr ? b : b + panel_bytes;
    return {.a = static_cast<const std::byte*>(term.a) + row * row_bytes,
            .row = row_bytes,
            .step = 4,
            .b = b,
            .words = term.depth / kPerWord,
            .tail = static_cast<int>(term.depth % kPerWord * sizeof(Word)),
            .prefetch = next + panel_bytes * index / tiles,
            .prefetch_step = kLine / tiles};
  }

  // ---- from sums to results

  template <class Out, class Word>
  static void finish(const Product& p, const float* sums, int first_row, int rows, int first_col) {
    with_activation(
        p.activation, [&](auto activation) __attribute__((always_inline)) {
          for (int i = 0; i < rows; i++)
            finish_row<Out, Word, activation>(p, sums + i * kPanel, first_row + i, first_col);
        });
  }

  template <class Out, class Word, Activation activation>
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
          F x;
          if constexpr (std::is_same_v<Word, int8_t>) {
            auto sum = (typename S::I)(S::load_words(sums + j) +
                                       S::load_words(p.in_8_bits.starts + first_col + j, count));
            x = __builtin_convertvector(sum, F) * p.in_8_bits.row_scales[row] *
                S::load(p.in_8_bits.column_scales + first_col + j, count);
          } else {
            x = S::load(sums + j) * p.scale;
          }
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

  /// Panel `panel` of wᵀ.
  static void pack_transposed(const float* w, int rows, int cols, int panel, std::byte* packed) {
    Pack::transposed_panel(w, cols, rows, cols, panel * kPanel, packed + panel * Pack::panel_bytes(cols));
  }

  static void pack_in_8_bits(const int8_t* w, int rows, int cols, int panel, std::byte* packed) {
    using Bytes = Packing<S, int8_t, S::tile_vectors>;
    Bytes::transposed_panel(w, cols, rows, cols, panel * kPanel, packed + panel * Bytes::panel_bytes(cols));
  }

  /// Rows [first, first + count) of w as depth.
  static void pack_weight(const float* w, int rows, int cols, int first, int count, std::byte* packed) {
    Pack::rows(w, cols, cols, first, count, rows, packed);
  }

  /// The same for activations; adds their columns up in `sums` [cols], if wanted.
  static void pack_activations(const void* x, int rows, int cols, int first, int count, std::byte* packed,
                               float* sums) {
    const T* values = static_cast<const T*>(x);
    Pack::rows(values, cols, cols, first, count, rows, packed);
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

  static constexpr ProductKernels kTable = {.multiply = multiply,
                                            .multiply_in_8_bits = multiply_in_8_bits,
                                            .pack_in_8_bits = pack_in_8_bits,
                                            .pack_transposed = pack_transposed,
                                            .pack_weight = pack_weight,
                                            .pack_activations = pack_activations,
                                            .weight_gradient = weight_gradient};
};

}  // namespace textmill::nn::kernel
