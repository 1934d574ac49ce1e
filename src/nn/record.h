#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "nn/weights.h"

namespace textmill::nn {

// ---- handles: what a model function holds in its hands

/// A symbolic number of rows (tokens, sequences, target tokens, image rows). Each row of a space has a
/// sequence, a position in it, and a key for dropout; see Batch.
struct Space {
  int id = -1;
};

/// One number per row of `of`: a row of `into`, or, if `into` is empty, a row of a table or a label.
struct Index {
  int id = -1;
  Space of, into;
  explicit operator bool() const { return id >= 0; }
};

/// [rows of a space, a constant number of columns].
struct Tensor {
  int id = -1;
  explicit operator bool() const { return id >= 0; }
};

/// What `attend` looks at: key and value rows of this batch, or a slot of each sequence's cache.
struct Memory {
  Tensor key, value;  // without a cache
  Tensor token;       // with a cache: orders `attend` after the `remember` of this batch's rows
  int slot = -1;
  int cols = 0;  // of a key in the slot
};

// ---- operations

enum class Kind : uint8_t {
  input,
  embed,
  linear,
  norm,
  activate,
  rotary,
  remember,
  attend,
  add,
  scale,
  dropout,
  rows,
  mean,
  cross_entropy,
  contrastive,
  enter,  // tensor parallel: where a tensor enters split products,
  leave,  // and where their results are summed
};
const char* name(Kind kind);

enum class Activation : uint8_t { gelu, gelu_tanh, relu, silu, tanh };

/// Rotates the first 2n columns of each head, n = frequencies.size(): columns j and j + n by position ·
/// frequencies[j] radians (Su et al. 2021, in the half-split layout of GPT-NeoX and Llama).
struct RotarySpec {
  int head_dim = 0;
  std::vector<double> frequencies;
};
/// theta^(-2j/dim) for j < dim/2.
std::vector<double> rotary_frequencies(int dim, double theta);

struct AttendSpec {
  int head_dim = 0;
  double scale = 0;        // of the scores; 0 means 1/sqrt(head_dim)
  bool causal = false;     // a row at position p sees keys 0..p of its sequence
  int window = 0;          // if set, only the last `window` of them
  Weight* bias = nullptr;  // T5's relative position bias [buckets, heads]
  int max_distance = 128;
  bool bidirectional = true;
  Index from, to;               // optional: each query row sees keys [from, to) of its sequence
  bool blind_sees_all = false;  // a row with an empty range sees all keys, as mllama has it, not none
  double dropout = 0;           // of the weights
  // Filled in by the recorder, from shapes, rank and memory.
  int heads = 0, kv_heads = 0, first_head = 0, slot = -1;
};
struct NormSpec {
  NormKind kind = NormKind::layer;
  double eps = 0;
  int size = 0;  // of a group; more than one group a row is a norm per head
};
struct LinearSpec {
  double adapter_scale = 0;  // 0: no adapter
};
struct ActivateSpec {
  Activation activation = Activation::gelu;
};
struct ScaleSpec {
  double factor = 1;
};
struct DropoutSpec {
  double p = 0;
};
struct CacheSpec {
  int slot = -1;
};
using Spec = std::variant<std::monostate, NormSpec, LinearSpec, ActivateSpec, RotarySpec, AttendSpec,
                          ScaleSpec, DropoutSpec, CacheSpec>;

/// One recorded operation. Numbers are positions in the lists of the Recording; -1 means absent.
///
///   kind           inputs                 outputs                 weights               indexes
///   input                                 y
///   embed                                 y                       a table per index     rows of the tables
///   linear         x                      y                       w, bias, lora a, b
///   norm           x                      y, 1/std (and mean)     scale, bias
///   activate       x [, gate]             y [, act'(x)]
///   rotary         x                      y
///   remember       k, v                   token (no columns)
///   attend         q, k, v | q [, token]  y, log-sum-exp          bias                  [from, to]
///   add            x, y                   z                       [tanh gate]           [row mask]
///   scale, dropout x                      y
///   rows           x                      y                                             which
///   mean           x                      y
///   cross_entropy  logits, row weight     loss, log-sum-exp                             labels
///   contrastive    q, d, row weight       loss, log-sum-exp                             positives
///   enter, leave   x                      y                       leave: bias
///
/// Outputs after the first are side results: only the backward pass reads them.
struct Op {
  Kind kind = Kind::input;
  std::vector<int> inputs, outputs, weights, indexes;
  Spec spec;
  int layer = -1;     // the region it stands in
  uint32_t site = 0;  // its identity in dropout's hash; survives every pass

  template <class T>
  const T& as() const {
    return std::get<T>(spec);
  }
};

// ---- the recording

enum class Format : uint8_t { f32, bf16 };

struct SpaceInfo {
  enum class Source : uint8_t { given, sequences, narrowed };
  std::string name;
  Source source = Source::given;
  int parent = -1;  // sequences: one row per sequence of it; narrowed: rows of it ...
  int via = -1;     // ... chosen by this index
};
struct IndexInfo {
  enum class Source : uint8_t { given, positions, first, last, narrowed };
  std::string name;
  int of = -1, into = -1;
  Source source = Source::given;
  int offset = 0;           // positions: added to each
  int base = -1, via = -1;  // narrowed: base[via[row]]
};
struct TensorInfo {
  int space = -1, cols = 0;
  Format format = Format::f32;
  std::string name;
};

/// A model as data: what a model function said to its Recorder.
struct Recording {
  std::vector<SpaceInfo> spaces;
  std::vector<IndexInfo> indexes;
  std::vector<TensorInfo> tensors;
  std::vector<Weight*> weights;  // each once
  std::vector<Op> ops;
  std::vector<int> outputs;  // tensors that the caller reads
  std::vector<int> losses;   // tensors of recorded losses, one number per row; their sum is the loss
  int layers = 0;            // regions marked with Recorder::layer

  int add_tensor(int space, int cols, std::string name, Format format = Format::f32);
};

// ---- the recorder

struct RecorderOptions {
  bool training = false;    // records dropout
  bool cached = false;      // `remember` writes the cache; else memories are rows of the batch
  int ranks = 1, rank = 0;  // tensor parallel
};

/// The small vocabulary in which families are written. A model function runs once and never sees a number.
/// Shapes are checked here; a mismatch throws Error{invalid} naming the operation and both shapes.
class Recorder {
 public:
  explicit Recorder(RecorderOptions options = {}) : options_(options) {}

  Space space(std::string name);
  Space sequences(Space tokens);  // one row per sequence of `tokens`
  Index index(std::string name, Space of, Space into = {});
  Index positions(Space of, int offset = 0);   // each row's position + offset
  Index first(Space tokens, Space sequences);  // each sequence's first row
  Index last(Space tokens, Space sequences);
  Index selection(const std::string& name, Space of);  // a new space: the rows that the caller picks

  Tensor input(Space space, int cols, std::string name);
  struct Table {
    Weight& table;
    Index ids;
  };
  Tensor embed(const std::vector<Table>& tables);  // the sum of one row of each
  Tensor linear(Tensor x, Linear& layer);          // x · Wᵀ + bias
  Tensor linear(Tensor x, Weight& tied);
  Tensor norm(Tensor x, Norm& norm);  // x.cols = k · norm size: a norm per head
  Tensor normalize(Tensor x);         // rows of length one
  Tensor activate(Activation activation, Tensor x, Tensor gate = {});  // act(x) ⊙ gate
  Tensor rotary(Tensor x, const RotarySpec& spec);
  Memory remember(Tensor key, Tensor value, int slot);  // slot: of the cache, when there is one
  Memory recall(int slot, int cols);  // what an earlier recording remembered; keys of `cols` columns
  Tensor attend(Tensor query, const Memory& memory, AttendSpec spec);
  Tensor add(Tensor x, Tensor y);
  Tensor add(Tensor x, Tensor y, Weight& tanh_gate, Index row_mask = {});  // x + tanh(gate) · mask · y
  Tensor scale(Tensor x, double factor);
  Tensor dropout(Tensor x, double p);
  Tensor rows(Tensor x, Index which);
  Tensor mean(Tensor x, Space sequences);

  /// Row-wise losses inside the recording; `row_weight` is [rows, 1]. A label below 0 is ignored.
  Tensor cross_entropy(Tensor logits, Index labels, Tensor row_weight);
  /// Row i of `q` against all rows of `d`: cross-entropy of scale · q · dᵀ with the right row of `d` as
  /// label.
  Tensor contrastive(Tensor q, Tensor d, Index positive, Tensor row_weight, double scale);

  /// Marks what `body` records as one region, the unit of recomputation.
  template <class Body>
  auto layer(Body&& body) {
    struct Region {
      int& current;
      int outer;
      ~Region() { current = outer; }
    } region{layer_, std::exchange(layer_, recording_.layers++)};
    return body();
  }

  void output(Tensor x) { recording_.outputs.push_back(x.id); }
  int cols(Tensor x) const { return recording_.tensors[x.id].cols; }
  Space space_of(Tensor x) const { return {recording_.tensors[x.id].space}; }
  bool training() const { return options_.training; }

  /// The recording; the recorder is empty afterwards.
  Recording finish();

 private:
  Index add_index(IndexInfo info);
  Tensor make(Op op, Space space, int cols, int side_cols = 0);
  void same_shape(Kind kind, Tensor x, Tensor y) const;
  int weight(Weight& weight);
  int weight_or_none(Weight& weight);
  Tensor entered(Tensor x);

  RecorderOptions options_;
  Recording recording_;
  std::vector<std::pair<int, int>> entered_;  // tensor -> its entrance into split products
  int layer_ = -1;
  uint32_t site_ = 0;
};

}  // namespace textmill::nn
