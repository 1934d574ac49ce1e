#include <algorithm>
#include <cstring>

#include "nn/attend.h"
#include "nn/cpu.h"

namespace textmill::nn {

void Cpu::remember(const Op& op) {
  int slot = op.as<CacheSpec>().slot;
  const Rows& of = rows(op.inputs[0]);
  auto* keys = static_cast<const std::byte*>(read(op.inputs[0]));
  auto* values = static_cast<const std::byte*>(read(op.inputs[1]));
  size_t bytes = cols(op.inputs[0]) * kernel::bytes_of(type_);
  for (int row = 0; row < of.count; row++) {
    auto& slots = caches_[batch_->caches[of.seq[row]]];
    if (std::ssize(slots) <= slot) slots.resize(slot + 1);
    CacheSlot& to = slots[slot];
    size_t at = of.pos[row] * bytes, kept = to.count * bytes;
    std::memcpy(to.keys.grow(at + bytes, kept) + at, keys + row * bytes, bytes);
    std::memcpy(to.values.grow(at + bytes, kept) + at, values + row * bytes, bytes);
    to.count = std::max(to.count, of.pos[row] + 1);
  }
}

void Cpu::attend(const Op& op) {
  kernel::Attention a = attention(op);
  a.out = write(op.outputs[0]);
  size_t bytes = kernel::attention_scratch_bytes(kernels_, type_, a.head_dim, 0);
  kernel::attend(pool_, kernels_, a, scratch(bytes * pool_.threads()), bytes);
}

void Cpu::backward_attend(const Step& step) {
  const Op& op = step.op;
  kernel::Attention a = attention(op);
  a.out = const_cast<void*>(read(op.outputs[0]));  // only read by the backward pass
  kernel::AttentionGradient g{.d_out = read(step.d_output),
                              .d_queries = d_input(step, 0),
                              .d_keys = d_input(step, 1),
                              .d_values = d_input(step, 2),
                              .add_queries = step.accumulates(0),
                              .add_keys = step.accumulates(1),
                              .add_values = step.accumulates(2)};
  float* d_bias = trained(step, 0);
  if (d_bias) {
    d_bias_.assign(bias_.size(), 0);
    g.d_bias = d_bias_.data();
  }
  int most_keys = 0;
  for (const kernel::KeyRows& keys : keys_) most_keys = std::max(most_keys, keys.count);
  size_t bytes = kernel::attention_scratch_bytes(kernels_, type_, a.head_dim, most_keys);
  kernel::attend_backward(pool_, kernels_, a, g, scratch(bytes * pool_.threads()), bytes);
  if (d_bias) add_bias_gradient(op, d_bias);
}

/// Everything but `out`.
kernel::Attention Cpu::attention(const Op& op) {
  const AttendSpec& spec = op.as<AttendSpec>();
  const Rows& queries = rows(op.inputs[0]);
  fill_keys(op);
  fill_runs(queries, static_cast<int>(keys_.size()));
  fill_visible(op);
  fill_bias(op);
  kernel::Attention a{.type = type_,
                      .heads = spec.heads,
                      .kv_heads = spec.kv_heads,
                      .head_dim = spec.head_dim,
                      .scale = static_cast<float>(spec.scale),
                      .runs = runs_,
                      .first_run = first_run_,
                      .sequences = keys_,
                      .queries = read(op.inputs[0])};
  if (!visible_begin_.empty()) {
    a.visible_begin = visible_begin_.data();
    a.visible_end = visible_end_.data();
  }
  if (!bias_.empty()) {
    a.bias = bias_.data();
    a.bias_reach = bias_reach_;
    a.positions = queries.pos.data();
  }
  if (spec.dropout > 0)
    a.dropout = {kernel::DropoutRate(spec.dropout), batch_->seed, op.site, queries.key.data()};
  a.first_head = spec.first_head;
  if (op.outputs[1] >= 0) a.log_sums = f32(op.outputs[1]);
  return a;
}

void Cpu::fill_keys(const Op& op) {
  const AttendSpec& spec = op.as<AttendSpec>();
  keys_.clear();
  if (spec.slot >= 0) {
    for (int32_t cache : batch_->caches) {
      const CacheSlot& slot = caches_.at(cache).at(spec.slot);
      keys_.push_back({slot.keys.data(), slot.values.data(), slot.count, 0});
    }
    return;
  }
  const Rows& memory = rows(op.inputs[1]);
  auto* keys = static_cast<const std::byte*>(read(op.inputs[1]));
  auto* values = static_cast<const std::byte*>(read(op.inputs[2]));
  size_t bytes = cols(op.inputs[1]) * kernel::bytes_of(type_);
  for (int s = 0; s < memory.sequences(); s++) {
    int first = memory.begin[s];
    keys_.push_back({keys + first * bytes, values + first * bytes, memory.length(s), first});
  }
}

void Cpu::fill_runs(const Rows& queries, int sequences) {
  runs_.clear();
  for (int row = 0; row < queries.count; row++) {
    int sequence = queries.seq[row];
    bool joins = !runs_.empty() && runs_.back().sequence == sequence &&
                 runs_.back().count < kernel::Attention::kMaxRun;
    if (joins) {
      runs_.back().count++;
    } else {
      runs_.push_back({row, 1, sequence});
    }
  }
  auto by_sequence = [](const kernel::QueryRun& a, const kernel::QueryRun& b) {
    return a.sequence != b.sequence ? a.sequence < b.sequence : a.first < b.first;
  };
  std::sort(runs_.begin(), runs_.end(), by_sequence);
  first_run_.assign(sequences + 1, 0);
  for (const kernel::QueryRun& run : runs_) first_run_[run.sequence + 1]++;
  for (int s = 0; s < sequences; s++) first_run_[s + 1] += first_run_[s];
}

/// Empty where every query sees every key of its sequence.
void Cpu::fill_visible(const Op& op) {
  const AttendSpec& spec = op.as<AttendSpec>();
  const Rows& queries = rows(op.inputs[0]);
  bool all = !spec.causal && spec.window == 0 && op.indexes.empty();
  visible_begin_.resize(all ? 0 : queries.count);
  visible_end_.resize(visible_begin_.size());
  for (size_t row = 0; row < visible_begin_.size(); row++) {
    const int* from = op.indexes.empty() ? nullptr : &batch_->index(op.indexes[0])[row];
    const int* to = op.indexes.empty() ? nullptr : &batch_->index(op.indexes[1])[row];
    KeyRange range = visible_keys(spec, queries.pos[row], keys_[queries.seq[row]].count, from, to);
    visible_begin_[row] = range.begin;
    visible_end_[row] = std::max(range.begin, range.end);
  }
}

int Cpu::bias_bucket(const Op& op, int relative) const {
  const AttendSpec& spec = op.as<AttendSpec>();
  int buckets = static_cast<int>(plan_.recording.weights[op.weights[0]]->rows);
  return relative_bucket(relative, buckets, spec.max_distance, spec.bidirectional);
}

/// A relative bias by distance, for every distance between a query and a key.
void Cpu::fill_bias(const Op& op) {
  bias_.clear();
  const float* table = vector(op, 0);
  if (!table) return;
  int heads = op.as<AttendSpec>().heads;
  bias_reach_ = 0;
  for (int32_t position : rows(op.inputs[0]).pos) bias_reach_ = std::max(bias_reach_, position);
  for (const kernel::KeyRows& keys : keys_) bias_reach_ = std::max(bias_reach_, keys.count);
  int width = 2 * bias_reach_ + 1;
  bias_.resize(size_t(heads) * width);
  for (int place = 0; place < width; place++) {
    int bucket = bias_bucket(op, place - bias_reach_);
    for (int head = 0; head < heads; head++)
      bias_[size_t(head) * width + place] = table[bucket * heads + head];
  }
}

void Cpu::add_bias_gradient(const Op& op, float* gradient) const {
  int heads = op.as<AttendSpec>().heads, width = 2 * bias_reach_ + 1;
  for (int place = 0; place < width; place++) {
    int bucket = bias_bucket(op, place - bias_reach_);
    for (int head = 0; head < heads; head++)
      gradient[bucket * heads + head] += d_bias_[size_t(head) * width + place];
  }
}

}  // namespace textmill::nn
