#pragma once

#include <span>

#include "nn/kernel/types.h"

namespace textmill::nn::kernel {

class Pool;
struct Kernels;

// Attention over sequences of any lengths that lie end to end. Scores exist for a tile of queries and a block of keys at
// a time; across blocks of keys the softmax is corrected as it goes (Dao et al. 2022). A query's result depends on its own
// sequence only.

/// What the queries of one sequence look at: rows of kv_heads · head_dim columns.
struct KeyRows {
  const void *keys, *values;
  int count;
  int first;  // of its rows, where gradients are written
};

/// Consecutive query rows of one sequence.
struct QueryRun {
  int first, count, sequence;
};

struct Attention {
  static constexpr int kMaxRun = 128;  // rows of a run
  Type type = Type::f32;
  int heads = 1, kv_heads = 1, head_dim = 0;  // query head h looks at key head h / (heads / kv_heads)
  float scale = 1;
  std::span<const QueryRun> runs;      // ordered by sequence
  std::span<const int32_t> first_run;  // of each sequence; and the end
  std::span<const KeyRows> sequences;
  const void* queries = nullptr;                                   // [rows, heads · head_dim]
  const int32_t *visible_begin = nullptr, *visible_end = nullptr;  // keys that a row sees; nullptr: all
  const float* bias =
      nullptr;  // [heads, 2 · bias_reach + 1], at [head][key's place - query's place + bias_reach]
  int bias_reach = 0;
  const int32_t* positions = nullptr;  // of query rows, for the bias
  Dropout dropout;                     // of the weights; keys are those of the query rows
  int first_head = 0;                  // added to the head in dropout's hash
  void* out = nullptr;                 // [rows, heads · head_dim]
  float* log_sums = nullptr;           // [rows, heads]: log Σ e^score; or not wanted
};

/// Bytes of scratch memory per thread, for sequences of at most `most_keys` keys (0 for the forward pass alone).
size_t attention_scratch_bytes(const Kernels& kernels, Type type, int head_dim, int most_keys);

/// Writes out and log_sums. A row that sees nothing gets zeros and -infinity. `scratch` has threads() parts of
/// `scratch_bytes`.
void attend(Pool& pool, const Kernels& kernels, const Attention& attention, std::byte* scratch,
            size_t scratch_bytes);

/// From d_out: the gradients of queries, keys and values, each wanted or nullptr. Reads what attend() wrote.
struct AttentionGradient {
  const void* d_out = nullptr;
  void *d_queries = nullptr, *d_keys = nullptr, *d_values = nullptr;
  bool add_queries = false, add_keys = false, add_values = false;  // +=, else =
  float* d_bias = nullptr;                                         // like bias; always +=
};
void attend_backward(Pool& pool, const Kernels& kernels, const Attention& attention,
                     const AttentionGradient& gradient, std::byte* scratch, size_t scratch_bytes);

}  // namespace textmill::nn::kernel
