#include "nn/record.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace textmill::nn {
namespace {

[[noreturn]] void fail(Kind kind, const std::string& what) {
  throw base::Error(base::Kind::invalid, fmt::format("recording {}: {}", name(kind), what));
}

std::string shape(const Weight& weight) {
  return fmt::format("{} [{}, {}]", weight.name, weight.rows, weight.cols);
}

}  // namespace

const char* name(Kind kind) {
  static constexpr const char* kNames[] = {
      "input", "embed",   "linear", "norm", "activate",      "rotary",      "remember", "attend", "add",
      "scale", "dropout", "rows",   "mean", "cross_entropy", "contrastive", "enter",    "leave"};
  return kNames[static_cast<int>(kind)];
}

std::vector<double> rotary_frequencies(int dim, double theta) {
  std::vector<double> frequencies(dim / 2);
  for (int j = 0; j < dim / 2; j++) frequencies[j] = std::pow(theta, -2.0 * j / dim);
  return frequencies;
}

int Recording::add_tensor(int space, int cols, std::string name, Format format) {
  tensors.push_back({space, cols, format, std::move(name)});
  return static_cast<int>(tensors.size()) - 1;
}

// ---- spaces and indexes

Space Recorder::space(std::string name) {
  recording_.spaces.push_back({.name = std::move(name)});
  return {static_cast<int>(recording_.spaces.size()) - 1};
}

Space Recorder::sequences(Space tokens) {
  Space space = this->space(recording_.spaces[tokens.id].name + " sequences");
  recording_.spaces.back().source = SpaceInfo::Source::sequences;
  recording_.spaces.back().parent = tokens.id;
  return space;
}

Index Recorder::add_index(IndexInfo info) {
  Space of{info.of}, into{info.into};
  recording_.indexes.push_back(std::move(info));
  return {static_cast<int>(recording_.indexes.size()) - 1, of, into};
}

Index Recorder::index(std::string name, Space of, Space into) {
  return add_index({.name = std::move(name), .of = of.id, .into = into.id});
}

Index Recorder::positions(Space of, int offset) {
  return add_index(
      {.name = "positions", .of = of.id, .source = IndexInfo::Source::positions, .offset = offset});
}

Index Recorder::first(Space tokens, Space sequences) {
  return add_index(
      {.name = "first", .of = sequences.id, .into = tokens.id, .source = IndexInfo::Source::first});
}

Index Recorder::last(Space tokens, Space sequences) {
  return add_index(
      {.name = "last", .of = sequences.id, .into = tokens.id, .source = IndexInfo::Source::last});
}

Index Recorder::selection(const std::string& name, Space of) {
  Index index = this->index(name, space(name), of);
  SpaceInfo& chosen = recording_.spaces[index.of.id];
  chosen.source = SpaceInfo::Source::narrowed;
  chosen.parent = of.id;
  chosen.via = index.id;
  return index;
}

// ---- operations

int Recorder::weight(Weight& weight) {
  auto found = std::find(recording_.weights.begin(), recording_.weights.end(), &weight);
  if (found != recording_.weights.end()) return static_cast<int>(found - recording_.weights.begin());
  recording_.weights.push_back(&weight);
  return static_cast<int>(recording_.weights.size()) - 1;
}

int Recorder::weight_or_none(Weight& weight) { return weight ? this->weight(weight) : -1; }

Tensor Recorder::make(Op op, Space space, int cols, int side_cols) {
  int y = recording_.add_tensor(space.id, cols, name(op.kind));
  op.outputs = {y};
  if (side_cols > 0)
    op.outputs.push_back(recording_.add_tensor(space.id, side_cols, std::string(name(op.kind)) + " side"));
  op.layer = layer_;
  bool collective = op.kind == Kind::enter || op.kind == Kind::leave;
  op.site = collective ? 0 : site_++;  // so that a rank draws the dropout that a single machine draws
  recording_.ops.push_back(std::move(op));
  return {y};
}

void Recorder::same_shape(Kind kind, Tensor x, Tensor y) const {
  const TensorInfo &a = recording_.tensors[x.id], &b = recording_.tensors[y.id];
  if (a.space == b.space && a.cols == b.cols) return;
  fail(kind, fmt::format("[{}, {}] and [{}, {}] differ", recording_.spaces[a.space].name, a.cols,
                         recording_.spaces[b.space].name, b.cols));
}

Tensor Recorder::input(Space space, int cols, std::string name) {
  Tensor x = make({.kind = Kind::input}, space, cols);
  recording_.tensors[x.id].name = std::move(name);
  return x;
}

Tensor Recorder::embed(const std::vector<Table>& tables) {
  Op op{.kind = Kind::embed};
  for (const auto& [table, ids] : tables) {
    if (table.cols != tables[0].table.cols)
      fail(Kind::embed, shape(table) + " and " + shape(tables[0].table) + " differ");
    op.weights.push_back(weight(table));
    op.indexes.push_back(ids.id);
  }
  return make(std::move(op), tables[0].ids.of, static_cast<int>(tables[0].table.cols));
}

/// One entrance per tensor, however many split products read it: its gradient is one sum over the ranks.
Tensor Recorder::entered(Tensor x) {
  for (auto [from, to] : entered_) {
    if (from == x.id) return {to};
  }
  Tensor y = make({.kind = Kind::enter, .inputs = {x.id}}, space_of(x), cols(x));
  entered_.emplace_back(x.id, y.id);
  return y;
}

Tensor Recorder::linear(Tensor x, Linear& layer) {
  Weight& w = layer.weight;
  if (cols(x) != w.cols)
    fail(Kind::linear, fmt::format("{} needs {} columns, not {}", shape(w), w.cols, cols(x)));
  bool split_out = options_.ranks > 1 && layer.split == Split::out;
  bool split_in = options_.ranks > 1 && layer.split == Split::in;
  if (split_out) x = entered(x);
  Op op{.kind = Kind::linear,
        .inputs = {x.id},
        .weights = {weight(w), split_in ? -1 : weight_or_none(layer.bias)}};
  double adapter_scale = 0;
  if (layer.adapter) {
    op.weights.push_back(weight(layer.adapter->a));
    op.weights.push_back(weight(layer.adapter->b));
    adapter_scale = layer.adapter->scale;
  }
  op.spec = LinearSpec{adapter_scale};
  Tensor y = make(std::move(op), space_of(x), static_cast<int>(w.rows));
  if (!split_in) return y;
  // The bias comes once, after the sum over the ranks.
  return make({.kind = Kind::leave, .inputs = {y.id}, .weights = {weight_or_none(layer.bias)}}, space_of(x),
              cols(y));
}

Tensor Recorder::linear(Tensor x, Weight& tied) {
  if (cols(x) != tied.cols)
    fail(Kind::linear, fmt::format("{} needs {} columns, not {}", shape(tied), tied.cols, cols(x)));
  Op op{.kind = Kind::linear, .inputs = {x.id}, .weights = {weight(tied), -1}, .spec = LinearSpec{}};
  return make(std::move(op), space_of(x), static_cast<int>(tied.rows));
}

Tensor Recorder::norm(Tensor x, Norm& norm) {
  int size = static_cast<int>(norm.weight.cols);
  if (size == 0 || cols(x) % size)
    fail(Kind::norm, fmt::format("{} columns are no multiple of {}", cols(x), shape(norm.weight)));
  int groups = cols(x) / size;
  Op op{.kind = Kind::norm,
        .inputs = {x.id},
        .weights = {weight(norm.weight), weight_or_none(norm.bias)},
        .spec = NormSpec{norm.kind, norm.eps, size}};
  return make(std::move(op), space_of(x), cols(x), norm.kind == NormKind::layer ? 2 * groups : groups);
}

Tensor Recorder::normalize(Tensor x) {
  Op op{
      .kind = Kind::norm, .inputs = {x.id}, .weights = {-1, -1}, .spec = NormSpec{NormKind::l2, 0, cols(x)}};
  return make(std::move(op), space_of(x), cols(x), 1);
}

Tensor Recorder::activate(Activation activation, Tensor x, Tensor gate) {
  Op op{.kind = Kind::activate, .inputs = {x.id}, .spec = ActivateSpec{activation}};
  if (gate) {
    same_shape(Kind::activate, x, gate);
    op.inputs.push_back(gate.id);
  }
  return make(std::move(op), space_of(x), cols(x));
}

Tensor Recorder::rotary(Tensor x, const RotarySpec& spec) {
  int rotated = 2 * static_cast<int>(spec.frequencies.size());
  if (spec.head_dim <= 0 || cols(x) % spec.head_dim || rotated > spec.head_dim) {
    fail(Kind::rotary,
         fmt::format("{} columns, heads of {}, {} of them rotated", cols(x), spec.head_dim, rotated));
  }
  return make({.kind = Kind::rotary, .inputs = {x.id}, .spec = spec}, space_of(x), cols(x));
}

Memory Recorder::remember(Tensor key, Tensor value, int slot) {
  same_shape(Kind::remember, key, value);
  if (!options_.cached) return {.key = key, .value = value};
  Tensor token =
      make({.kind = Kind::remember, .inputs = {key.id, value.id}, .spec = CacheSpec{slot}}, space_of(key), 0);
  return {.token = token, .slot = slot, .cols = cols(key)};
}

Memory Recorder::recall(int slot, int cols) {
  if (!options_.cached) fail(Kind::attend, "recall without a cache");
  return {.slot = slot, .cols = cols};
}

Tensor Recorder::attend(Tensor query, const Memory& memory, AttendSpec spec) {
  int dim = spec.head_dim, key_cols = memory.key ? cols(memory.key) : memory.cols;
  if (dim <= 0 || cols(query) % dim || key_cols % dim) {
    fail(Kind::attend,
         fmt::format("queries of {} and keys of {} columns, heads of {}", cols(query), key_cols, dim));
  }
  spec.heads = cols(query) / dim;
  spec.kv_heads = key_cols / dim;
  if (spec.kv_heads == 0 || spec.heads % spec.kv_heads) {
    fail(Kind::attend, fmt::format("{} heads over {} key heads", spec.heads, spec.kv_heads));
  }
  if (spec.scale == 0) spec.scale = 1 / std::sqrt(static_cast<double>(dim));
  if (!options_.training) spec.dropout = 0;
  spec.first_head = options_.rank * spec.heads;
  spec.slot = memory.slot;
  Op op{.kind = Kind::attend, .inputs = {query.id}, .weights = {-1}};
  if (memory.slot < 0) {
    op.inputs.insert(op.inputs.end(), {memory.key.id, memory.value.id});
  } else if (memory.token) {
    op.inputs.push_back(memory.token.id);
  }
  if (spec.bias) {
    if (spec.bias->cols != spec.heads)
      fail(Kind::attend, fmt::format("{} for {} heads", shape(*spec.bias), spec.heads));
    op.weights[0] = weight(*spec.bias);
  }
  if (spec.from) op.indexes = {spec.from.id, spec.to.id};
  int heads = spec.heads;
  op.spec = spec;
  return make(std::move(op), space_of(query), cols(query), heads);
}

Tensor Recorder::add(Tensor x, Tensor y) {
  same_shape(Kind::add, x, y);
  return make({.kind = Kind::add, .inputs = {x.id, y.id}, .weights = {-1}}, space_of(x), cols(x));
}

Tensor Recorder::add(Tensor x, Tensor y, Weight& tanh_gate, Index row_mask) {
  same_shape(Kind::add, x, y);
  if (tanh_gate.count() != 1) fail(Kind::add, shape(tanh_gate) + " is no single gate");
  Op op{.kind = Kind::add, .inputs = {x.id, y.id}, .weights = {weight(tanh_gate)}};
  if (row_mask) op.indexes = {row_mask.id};
  return make(std::move(op), space_of(x), cols(x));
}

Tensor Recorder::scale(Tensor x, double factor) {
  return make({.kind = Kind::scale, .inputs = {x.id}, .spec = ScaleSpec{factor}}, space_of(x), cols(x));
}

Tensor Recorder::dropout(Tensor x, double p) {
  if (options_.training && p > 0) {
    return make({.kind = Kind::dropout, .inputs = {x.id}, .spec = DropoutSpec{p}}, space_of(x), cols(x));
  }
  site_++;  // sites are the same in every recording of a model
  return x;
}

Tensor Recorder::rows(Tensor x, Index which) {
  if (which.into.id != space_of(x).id) fail(Kind::rows, "the index does not point into the tensor's rows");
  return make({.kind = Kind::rows, .inputs = {x.id}, .indexes = {which.id}}, which.of, cols(x));
}

Tensor Recorder::mean(Tensor x, Space sequences) {
  if (recording_.spaces[sequences.id].parent != space_of(x).id)
    fail(Kind::mean, "not the sequences of the tensor's rows");
  return make({.kind = Kind::mean, .inputs = {x.id}}, sequences, cols(x));
}

Tensor Recorder::cross_entropy(Tensor logits, Index labels, Tensor row_weight) {
  if (labels.of.id != space_of(logits).id || space_of(row_weight).id != space_of(logits).id ||
      cols(row_weight) != 1) {
    fail(Kind::cross_entropy, "labels and weights are one per row of the logits");
  }
  Op op{.kind = Kind::cross_entropy, .inputs = {logits.id, row_weight.id}, .indexes = {labels.id}};
  Tensor loss = make(std::move(op), space_of(logits), 1, 1);
  recording_.losses.push_back(loss.id);
  return loss;
}

Tensor Recorder::contrastive(Tensor q, Tensor d, Index positive, Tensor row_weight, double scale) {
  if (cols(q) != cols(d) || positive.of.id != space_of(q).id || positive.into.id != space_of(d).id ||
      space_of(row_weight).id != space_of(q).id || cols(row_weight) != 1) {
    fail(Kind::contrastive, "equal columns, and a row of d and a weight per row of q");
  }
  Op op{.kind = Kind::contrastive,
        .inputs = {q.id, d.id, row_weight.id},
        .indexes = {positive.id},
        .spec = ScaleSpec{scale}};
  Tensor loss = make(std::move(op), space_of(q), 1, 1);
  recording_.losses.push_back(loss.id);
  return loss;
}

Recording Recorder::finish() {
  entered_.clear();
  layer_ = -1;
  site_ = 0;
  return std::exchange(recording_, {});
}

}  // namespace textmill::nn
