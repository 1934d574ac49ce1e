#pragma once

#include <limits>

#include "nn/kernel/kernels.h"
#include "nn/kernel/math_impl.h"
#include "nn/kernel/pack_impl.h"
#include "nn/kernel/tile_impl.h"

namespace textmill::nn::kernel {

constexpr float kLog2e = 1.44269504f, kMinusInfinity = -std::numeric_limits<float>::infinity();

/// Hands out scratch memory, 64-byte aligned pieces in order. Without memory it only counts.
class ScratchPieces {
 public:
  explicit ScratchPieces(std::byte* memory) : memory_(memory) {}
  template <class T>
  T* take(int64_t count) {
    T* piece = memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + used_);
    used_ += (count * sizeof(T) + 63) / 64 * 64;
    return piece;
  }
  size_t used() const { return used_; }

 private:
  std::byte* memory_;
  size_t used_ = 0;
};

/// What the passes of attention share: one head of one sequence. Scores are kept times log2(e), for 2^x is cheaper.
template <class S, class T>
struct AttentionHead {
  using F = typename S::F;
  static constexpr int kVectors = 2;
  using Pack = Packing<S, T, kVectors>;
  static constexpr int kPanel = Pack::kPanel;

  const Attention& a;
  int head;
  int64_t query_stride, key_stride;  // elements between rows
  int key_offset;                    // of this head in a row of keys

  AttentionHead(const Attention& attention, int query_head)
      : a(attention),
        head(query_head),
        query_stride(int64_t{attention.heads} * attention.head_dim),
        key_stride(int64_t{attention.kv_heads} * attention.head_dim),
        key_offset(query_head / (attention.heads / attention.kv_heads) * attention.head_dim) {}

  /// This head of a row of queries, of outputs, or of their gradients.
  template <class Element>
  Element* of_row(Element* rows, int row) const {
    return rows + row * query_stride + int64_t{head} * a.head_dim;
  }

  static int round_up(int x, int to) { return (x + to - 1) / to * to; }

  struct Range {
    int begin, end;
  };
  /// The keys that a row sees.
  Range visible(int row, int count) const {
    if (a.visible_begin == nullptr) return {0, count};
    return {std::max(a.visible_begin[row], 0), std::min(a.visible_end[row], count)};
  }
  /// The keys that some row sees.
  Range visible(int first, int rows, int count) const {
    if (a.visible_begin == nullptr) return {0, count};
    Range all{count, 0};
    for (int row = first; row < first + rows; row++) {
      Range one = visible(row, count);
      if (one.begin < one.end) all = {std::min(all.begin, one.begin), std::max(all.end, one.end)};
    }
    return all;
  }

  /// Rows of `x`, an operand of head_dim columns, times the panels of a packed block: sums [rows, stride].
  void scores(const T* x, int64_t x_stride, int rows, const std::byte* packed, int count, float* sums,
              int stride) const {
    for (int panel = 0; panel * kPanel < count; panel++) {
      Strip strip = {.a = reinterpret_cast<const std::byte*>(x),
                     .row = x_stride * static_cast<int>(sizeof(T)),
                     .step = 4,
                     .b = packed + panel * Pack::panel_bytes(a.head_dim),
                     .words = a.head_dim / Pack::kPerWord,
                     .tail = static_cast<int>(a.head_dim % Pack::kPerWord * sizeof(T)),
                     .prefetch = packed,
                     .prefetch_step = 0};
      tile_of<S, T, kVectors>(rows)(&strip, 1, sums + panel * kPanel, stride);
    }
  }

  /// The bias of `row` for the key at place j of its sequence is at [j]; nullptr without a bias.
  const float* bias_of(int row) const {
    if (a.bias == nullptr) return nullptr;
    return a.bias + int64_t{head} * (2 * a.bias_reach + 1) + a.bias_reach - a.positions[row];
  }
  DropoutRow dropout_of(int row) const {
    return dropout_row(a.dropout.seed, a.dropout.site, a.dropout.keys[row], a.first_head + head);
  }

  /// Scaled scores of the keys from `first` on, minus `offset`; -infinity for those outside of [begin, end).
  [[gnu::always_inline]] F score(const float* sums, int c, int first, Range seen, const float* bias,
                                 float offset) const {
    F x = S::fma(S::load(sums + c), S::set(a.scale * kLog2e), S::set(-offset));
    int key = first + c;
    if (bias != nullptr) x = biased(x, bias, key, seen);
    if (key >= seen.begin && key + S::width <= seen.end) return x;
    auto place =
        S::count_up() + static_cast<uint32_t>(key - seen.begin);  // wraps around for keys before the range
    return place < static_cast<uint32_t>(seen.end - seen.begin) ? x : S::set(kMinusInfinity);
  }
  [[gnu::always_inline]] static F biased(F x, const float* bias, int key, Range seen) {
    if (key >= seen.begin && key + S::width <= seen.end)
      return S::fma(S::load(bias + key), S::set(kLog2e), x);
    alignas(64) float values[S::width] = {};
    for (int i = std::max(0, seen.begin - key); i < std::min(S::width, seen.end - key); i++)
      values[i] = bias[key + i];
    return S::fma(S::load(values), S::set(kLog2e), x);
  }
};

/// The forward pass of a run of queries and a head.
template <class S, class T>
class AttentionForward : AttentionHead<S, T> {
  using Base = AttentionHead<S, T>;
  using Base::a, Base::head, Base::kPanel, Base::kVectors;
  using typename Base::F;
  using typename Base::Pack;
  using typename Base::Range;
  static constexpr int kKeys = 256;  // of a block

  struct Scratch {
    std::byte *keys, *values;  // packed blocks
    float *scores, *sums;      // of a tile of queries
    T* weights;
    float *out, *largest, *total;  // of a run

    Scratch(ScratchPieces pieces, int head_dim, size_t* bytes = nullptr) {
      int cols = Base::round_up(head_dim, kPanel);
      keys = pieces.take<std::byte>(Pack::panel_bytes(head_dim) * (kKeys / kPanel));
      values = pieces.take<std::byte>(Pack::panel_bytes(kKeys) * (cols / kPanel));
      scores = pieces.take<float>(S::tile_rows * kKeys);
      sums = pieces.take<float>(S::tile_rows * kPanel);
      weights = pieces.take<T>(S::tile_rows * kKeys);
      out = pieces.take<float>(int64_t{Attention::kMaxRun} * cols);
      largest = pieces.take<float>(Attention::kMaxRun);
      total = pieces.take<float>(Attention::kMaxRun);
      if (bytes != nullptr) *bytes = pieces.used();
    }
  };

 public:
  static size_t scratch_bytes(int head_dim) {
    size_t bytes;
    Scratch(ScratchPieces(nullptr), head_dim, &bytes);
    return bytes;
  }

  static void run(const Attention& attention, int run, int head, std::byte* scratch) {
    AttentionForward(attention, run, head, scratch).run_all();
  }

 private:
  AttentionForward(const Attention& attention, int run, int head, std::byte* scratch)
      : Base(attention, head),
        run_(attention.runs[run]),
        memory_(attention.sequences[run_.sequence]),
        cols_(Base::round_up(attention.head_dim, kPanel)),
        s_(ScratchPieces(scratch), attention.head_dim) {}

  void run_all() {
    std::fill_n(s_.out, int64_t{run_.count} * cols_, 0.0f);
    std::fill_n(s_.largest, run_.count, kMinusInfinity);
    std::fill_n(s_.total, run_.count, 0.0f);
    Range keys = Base::visible(run_.first, run_.count, memory_.count);
    for (int first = keys.begin; first < keys.end; first += kKeys) {
      int count = std::min(kKeys, keys.end - first);
      pack(first, count);
      split_evenly(0, run_.count, S::tile_rows,
                   [&](int row, int rows) { tile_of_queries(row, rows, first, count); });
    }
    for (int row = 0; row < run_.count; row++) finish(row);
  }

  void pack(int first, int count) {
    const T* keys = static_cast<const T*>(memory_.keys) + first * this->key_stride + this->key_offset;
    const T* values = static_cast<const T*>(memory_.values) + first * this->key_stride + this->key_offset;
    for (int key = 0; key < count; key += kPanel) {
      Pack::transposed_panel(keys, this->key_stride, count, a.head_dim, key,
                             s_.keys + key / kPanel * Pack::panel_bytes(a.head_dim));
    }
    Pack::rows(values, this->key_stride, a.head_dim, 0, count, kKeys, s_.values);
  }

  void tile_of_queries(int first_row, int rows, int first, int count) {
    const T* queries = Base::of_row(static_cast<const T*>(a.queries), run_.first + first_row);
    Base::scores(queries, this->query_stride, rows, s_.keys, count, s_.scores, kKeys);
    float corrections[S::tile_rows];
    for (int i = 0; i < rows; i++) corrections[i] = soften(first_row + i, i, first, count);
    for (int panel = 0; panel * kPanel < a.head_dim; panel++) {
      Strip strip = {.a = reinterpret_cast<const std::byte*>(s_.weights),
                     .row = kKeys * sizeof(T),
                     .step = 4,
                     .b = s_.values + panel * Pack::panel_bytes(kKeys),
                     .words = Pack::words(count),
                     .tail = 0,
                     .prefetch = s_.values,
                     .prefetch_step = 0};
      tile_of<S, T, kVectors>(rows)(&strip, 1, s_.sums, kPanel);
      for (int i = 0; i < rows; i++) {
        float* out = s_.out + int64_t{first_row + i} * cols_ + panel * kPanel;
        for (int c = 0; c < kPanel; c += S::width) {
          S::store(out + c,
                   S::fma(S::load(out + c), S::set(corrections[i]), S::load(s_.sums + i * kPanel + c)));
        }
      }
    }
  }

  /// Turns row i of the scores into weights, relative to the largest score so far. Returns what earlier sums are to be
  /// multiplied with.
  float soften(int row, int i, int first, int count) {
    Range seen = Base::visible(run_.first + row, memory_.count);
    const float* bias = Base::bias_of(run_.first + row);
    float* scores = s_.scores + i * kKeys;
    T* weights = s_.weights + i * kKeys;
    int width = Base::round_up(count, S::width);
    seen.end = std::min(seen.end, first + count);
    if (seen.begin >= seen.end) seen = {0, 0};
    F top = S::set(s_.largest[row]);
    for (int c = 0; c < width; c += S::width) {
      F x = Base::score(scores, c, first, seen, bias, 0);
      S::store(scores + c, x);
      top = S::max(top, x);
    }
    float largest = S::largest(top);
    if (largest == kMinusInfinity) {  // it has seen nothing yet, or what is not finite
      for (int c = 0; c < width; c += S::width) S::store(weights + c, S::max(F{}, S::load(scores + c)));
      return 0;
    }
    DropoutRow dropout{};
    if (a.dropout) dropout = Base::dropout_of(run_.first + row);
    F total{};
    for (int c = 0; c < width; c += S::width) {
      F weight = power_of_two<S>(S::load(scores + c) - largest);
      total = total + weight;
      if (a.dropout) weight = weight * dropout_factors<S>(a.dropout.rate, dropout, first + c);
      S::store(weights + c, weight);
    }
    float before = s_.largest[row];
    float correction = before == largest          ? 1
                       : before == kMinusInfinity ? 0
                                                  : __builtin_exp2f(before - largest);
    s_.total[row] = s_.total[row] * correction + S::sum(total);
    s_.largest[row] = largest;
    return correction;
  }

  void finish(int row) {
    float total = s_.total[row], inverse = total > 0 ? 1 / total : 0;
    const float* sums = s_.out + int64_t{row} * cols_;
    T* out = Base::of_row(static_cast<T*>(a.out), run_.first + row);
    columns<S>(
        a.head_dim, [&](int c, auto count) __attribute__((always_inline)) {
          S::store(out + c, S::load(sums + c) * inverse, count);
        });
    if (a.log_sums == nullptr) return;
    a.log_sums[int64_t{run_.first + row} * a.heads + head] =
        total > 0 ? (s_.largest[row] + __builtin_log2f(total)) / kLog2e : kMinusInfinity;
  }

  const QueryRun& run_;
  const KeyRows& memory_;
  int cols_;
  Scratch s_;
};

}  // namespace textmill::nn::kernel
