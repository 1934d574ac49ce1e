#pragma once

#include "nn/kernel/attention_impl.h"

namespace textmill::nn::kernel {

/// The backward pass of one sequence and one key head, with the query heads that look at it. With weights w, factors of
/// dropout k and y = Σ k w v:   dv += k w dy,   ds = w (k dy · v - dy · y),   dq += ds key,   d key += ds q.
/// Weights are computed again from the scores and their log-sum.
template <class S, class T>
class AttentionBackward {
  using Head = AttentionHead<S, T>;
  using F = typename S::F;
  using Pack = typename Head::Pack;
  using Range = typename Head::Range;
  static constexpr int kPanel = Head::kPanel, kVectors = Head::kVectors, kPerWord = Pack::kPerWord;
  static constexpr int kQueries = 64, kKeys = 128;                  // of a block
  static constexpr int kTile = S::tile_rows / kPerWord * kPerWord;  // rows of a tile fill whole words

  struct Scratch {
    std::byte *keys_across, *values_across,
        *keys;                   // the sequence's, packed: columns are keys, keys, head_dim
    float *d_keys, *d_values;    // [keys, cols], sums over all queries
    std::byte *queries, *d_out;  // a block's, packed: depth is queries
    float *scores, *products;    // of a tile of queries, then weights and gradients of scores
    T* d_scores;                 // of a tile, as an operand
    uint32_t *weights_down,
        *d_scores_down;        // of a block, as operands whose rows are keys: [words of queries, keys]
    float *d_queries, *inner;  // of a block of queries
    float* sums;

    Scratch(ScratchPieces pieces, int head_dim, int count, size_t* bytes = nullptr) {
      int cols = Head::round_up(head_dim, kPanel), panels = cols / kPanel,
          padded = Head::round_up(count, kPanel);
      keys_across = pieces.take<std::byte>(Pack::panel_bytes(head_dim) * (padded / kPanel));
      values_across = pieces.take<std::byte>(Pack::panel_bytes(head_dim) * (padded / kPanel));
      keys = pieces.take<std::byte>(Pack::panel_bytes(count) * panels);
      d_keys = pieces.take<float>(int64_t{padded} * cols);
      d_values = pieces.take<float>(int64_t{padded} * cols);
      queries = pieces.take<std::byte>(Pack::panel_bytes(kQueries) * panels);
      d_out = pieces.take<std::byte>(Pack::panel_bytes(kQueries) * panels);
      scores = pieces.take<float>(kTile * kKeys);
      products = pieces.take<float>(kTile * kKeys);
      d_scores = pieces.take<T>(kTile * kKeys);
      weights_down = pieces.take<uint32_t>(kQueries / kPerWord * kKeys);
      d_scores_down = pieces.take<uint32_t>(kQueries / kPerWord * kKeys);
      d_queries = pieces.take<float>(int64_t{kQueries} * cols);
      inner = pieces.take<float>(kQueries);
      sums = pieces.take<float>(S::tile_rows * kPanel);
      if (bytes != nullptr) *bytes = pieces.used();
    }
  };

 public:
  static size_t scratch_bytes(int head_dim, int most_keys) {
    size_t bytes;
    Scratch(ScratchPieces(nullptr), head_dim, most_keys, &bytes);
    return bytes;
  }

  static void run(const Attention& attention, const AttentionGradient& gradient, int sequence, int key_head,
                  std::byte* scratch) {
    AttentionBackward(attention, gradient, sequence, key_head, scratch).run_all();
  }

 private:
  AttentionBackward(const Attention& attention, const AttentionGradient& gradient, int sequence, int key_head,
                    std::byte* scratch)
      : a_(attention),
        g_(gradient),
        memory_(attention.sequences[sequence]),
        sequence_(sequence),
        group_(attention.heads / attention.kv_heads),
        key_head_(key_head),
        cols_(Head::round_up(attention.head_dim, kPanel)),
        s_(ScratchPieces(scratch), attention.head_dim, memory_.count) {}

  void run_all() {
    Head first(a_, key_head_ * group_);
    pack_memory(first);
    std::fill_n(s_.d_keys, int64_t{memory_.count} * cols_, 0.0f);
    std::fill_n(s_.d_values, int64_t{memory_.count} * cols_, 0.0f);
    for (int member = 0; member < group_; member++) {
      Head head(a_, key_head_ * group_ + member);
      for (int run = a_.first_run[sequence_]; run < a_.first_run[sequence_ + 1]; run++) {
        const QueryRun& rows = a_.runs[run];
        for (int row = 0; row < rows.count; row += kQueries) {
          block_of_queries(head, rows.first + row, std::min(kQueries, rows.count - row));
        }
      }
    }
    for (int key = 0; key < memory_.count; key++) {
      int64_t at = (memory_.first + key) * first.key_stride + first.key_offset;
      if (g_.d_keys != nullptr)
        put(s_.d_keys + int64_t{key} * cols_, static_cast<T*>(g_.d_keys) + at, g_.add_keys);
      if (g_.d_values != nullptr) {
        put(s_.d_values + int64_t{key} * cols_, static_cast<T*>(g_.d_values) + at, g_.add_values);
      }
    }
  }

  void pack_memory(const Head& head) {
    const T* keys = static_cast<const T*>(memory_.keys) + head.key_offset;
    const T* values = static_cast<const T*>(memory_.values) + head.key_offset;
    int64_t panel_bytes = Pack::panel_bytes(a_.head_dim);
    for (int key = 0; key < memory_.count; key += kPanel) {
      Pack::transposed_panel(keys, head.key_stride, memory_.count, a_.head_dim, key,
                             s_.keys_across + key / kPanel * panel_bytes);
      Pack::transposed_panel(values, head.key_stride, memory_.count, a_.head_dim, key,
                             s_.values_across + key / kPanel * panel_bytes);
    }
    Pack::rows(keys, head.key_stride, a_.head_dim, 0, memory_.count, memory_.count, s_.keys);
  }

  void block_of_queries(const Head& head, int first_row, int rows) {
    const T* queries = head.of_row(static_cast<const T*>(a_.queries), first_row);
    const T* d_out = head.of_row(static_cast<const T*>(g_.d_out), first_row);
    Pack::rows(queries, head.query_stride, a_.head_dim, 0, rows, kQueries, s_.queries);
    Pack::rows(d_out, head.query_stride, a_.head_dim, 0, rows, kQueries, s_.d_out);
    for (int i = 0; i < rows; i++) {
      s_.inner[i] = inner_product(d_out + i * head.query_stride,
                                  head.of_row(static_cast<const T*>(a_.out), first_row + i));
    }
    std::fill_n(s_.d_queries, int64_t{rows} * cols_, 0.0f);
    Range keys = head.visible(first_row, rows, memory_.count);
    for (int first = keys.begin / kKeys * kKeys; first < keys.end; first += kKeys) {
      int count = std::min(kKeys, memory_.count - first);
      for (int row = 0; row < rows; row += kTile) {
        tile_of_queries(head, first_row, row, std::min(kTile, rows - row), first, count);
      }
      add_down(s_.d_scores_down, rows, first, count, s_.queries, s_.d_keys);
      add_down(s_.weights_down, rows, first, count, s_.d_out, s_.d_values);
    }
    if (g_.d_queries == nullptr) return;
    for (int i = 0; i < rows; i++) {
      put(s_.d_queries + int64_t{i} * cols_, head.of_row(static_cast<T*>(g_.d_queries), first_row + i),
          g_.add_queries);
    }
  }

  float inner_product(const T* x, const T* y) const {
    F sum{};
    columns<S>(
        a_.head_dim, [&](int c, auto count) __attribute__((always_inline)) {
          sum = S::fma(S::load(x + c, count), S::load(y + c, count), sum);
        });
    return S::sum(sum);
  }

  void tile_of_queries(const Head& head, int block_row, int row, int rows, int first, int count) {
    const T* queries = head.of_row(static_cast<const T*>(a_.queries), block_row + row);
    const T* d_out = head.of_row(static_cast<const T*>(g_.d_out), block_row + row);
    int64_t across = first / kPanel * Pack::panel_bytes(a_.head_dim);
    head.scores(queries, head.query_stride, rows, s_.keys_across + across, count, s_.scores, kKeys);
    head.scores(d_out, head.query_stride, rows, s_.values_across + across, count, s_.products, kKeys);
    for (int i = 0; i < rows; i++)
      differentiate(head, block_row + row + i, s_.inner[row + i], i, first, count);
    int width = Head::round_up(count, S::width);
    for (int i = 0; i < rows; i += kPerWord) {
      bool pair = i + 1 < rows;
      int64_t down = int64_t{(row + i) / kPerWord} * kKeys;
      write_down(s_.scores + i * kKeys, pair, width, s_.weights_down + down);
      write_down(s_.products + i * kKeys, pair, width, s_.d_scores_down + down);
    }
    for (int panel = 0; panel * kPanel < a_.head_dim; panel++) {
      Strip strip = {.a = reinterpret_cast<const std::byte*>(s_.d_scores),
                     .row = kKeys * sizeof(T),
                     .step = 4,
                     .b = s_.keys + panel * Pack::panel_bytes(memory_.count) + first / kPerWord * Pack::kLine,
                     .words = Pack::words(count),
                     .tail = 0,
                     .prefetch = s_.keys,
                     .prefetch_step = 0};
      add_tile(strip, rows, s_.d_queries + int64_t{row} * cols_ + panel * kPanel);
    }
  }

  /// Row i of the tile: scores become factors · weights, products become gradients of the scores.
  void differentiate(const Head& head, int row, float inner, int i, int first, int count) {
    Range seen = head.visible(row, memory_.count);
    seen.end = std::min(seen.end, first + count);
    if (seen.begin >= seen.end) seen = {0, 0};
    const float* bias = head.bias_of(row);
    float log_sum = a_.log_sums[int64_t{row} * a_.heads + head.head] * kLog2e;
    if (log_sum == kMinusInfinity) log_sum = 0;  // it sees nothing: every weight is 0 by its range
    DropoutRow dropout{};
    if (a_.dropout) dropout = head.dropout_of(row);
    float *scores = s_.scores + i * kKeys, *products = s_.products + i * kKeys;
    T* d_scores = s_.d_scores + i * kKeys;
    for (int c = 0; c < Head::round_up(count, S::width); c += S::width) {
      F weight = power_of_two<S>(head.score(scores, c, first, seen, bias, log_sum));
      F product = S::load(products + c);
      F kept = weight;
      if (a_.dropout) {
        F factors = dropout_factors<S>(a_.dropout.rate, dropout, first + c);
        product = product * factors;
        kept = kept * factors;
      }
      F d_score = weight * (product - inner);
      if (g_.d_bias != nullptr) add_bias(head, row, first + c, seen, d_score);
      d_score = d_score * a_.scale;
      S::store(scores + c, kept);
      S::store(products + c, d_score);
      S::store(d_scores + c, d_score);
    }
  }

  void add_bias(const Head& head, int row, int key, Range seen, F d_score) {
    float* d_bias = g_.d_bias + (head.bias_of(row) - a_.bias);
    for (int i = std::max(0, seen.begin - key); i < std::min(S::width, seen.end - key); i++) {
      d_bias[key + i] += d_score[i];
    }
  }

  /// Writes a row of floats, or a pair of rows narrowed, as words.
  static void write_down(const float* row, bool pair, int width, uint32_t* words) {
    for (int c = 0; c < width; c += S::width) {
      S::store_words(words + c, Pack::pair(row + c, pair ? row + kKeys + c : nullptr, 0, Full()));
    }
  }

  /// sums[key] += Σ over the block's queries of down[query, key] · x[query].
  void add_down(const uint32_t* down, int rows, int first, int count, const std::byte* x, float* sums) {
    for (int panel = 0; panel * kPanel < a_.head_dim; panel++) {
      split_evenly(0, count, S::tile_rows, [&](int key, int keys) {
        Strip strip = {.a = reinterpret_cast<const std::byte*>(down + key),
                       .row = 4,
                       .step = kKeys * 4,
                       .b = x + panel * Pack::panel_bytes(kQueries),
                       .words = Pack::words(rows),
                       .tail = 0,
                       .prefetch = x,
                       .prefetch_step = 0};
        add_tile(strip, keys, sums + int64_t{first + key} * cols_ + panel * kPanel);
      });
    }
  }

  void add_tile(const Strip& strip, int rows, float* out) {
    tile_of<S, T, kVectors>(rows)(&strip, 1, s_.sums, kPanel);
    for (int i = 0; i < rows; i++) {
      for (int c = 0; c < kPanel; c += S::width) {
        float* at = out + int64_t{i} * cols_ + c;
        S::store(at, S::load(at) + S::load(s_.sums + i * kPanel + c));
      }
    }
  }

  void put(const float* sums, T* out, bool add) const {
    columns<S>(
        a_.head_dim, [&](int c, auto count) __attribute__((always_inline)) {
          F x = S::load(sums + c);
          S::store(out + c, add ? S::load(out + c, count) + x : x, count);
        });
  }

  const Attention& a_;
  const AttentionGradient& g_;
  const KeyRows& memory_;
  int sequence_, group_, key_head_, cols_;
  Scratch s_;
};

}  // namespace textmill::nn::kernel
