#include <cmath>

#include "nn/attend.h"
#include "nn/dropout.h"
#include "nn/naive_ops.h"

namespace textmill::nn {
namespace {

/// One attention: for a query row and a head, the keys it sees and their weights.
template <class Real>
class Attention {
 public:
  Attention(const Op& op, const NaiveFrame<Real>& frame)
      : op(op),
        frame(frame),
        spec(op.as<AttendSpec>()),
        queries(frame.rows(op.inputs[0])),
        bias(frame.weight(op, 0)),
        buckets(bias ? static_cast<int>(frame.shape(op, 0).rows) : 0),
        key_cols(spec.kv_heads * spec.head_dim),
        threshold(dropout_threshold(spec.dropout)) {}

  void look(int row) {
    this->row = row;
    int sequence = queries.seq[row], length;
    if (spec.slot >= 0) {
      const NaiveCache<Real>& cache = frame.caches.at(frame.batch.caches[sequence]);
      keys = cache.keys.at(spec.slot).data();
      values = cache.values.at(spec.slot).data();
      length = static_cast<int>(cache.keys.at(spec.slot).size()) / key_cols;
    } else {
      const Rows& memory = frame.rows(op.inputs[1]);
      first = memory.begin[sequence];
      length = memory.length(sequence);
      keys = frame.tensor(op.inputs[1]) + size_t(first) * key_cols;
      values = frame.tensor(op.inputs[2]) + size_t(first) * key_cols;
    }
    const int* from = op.indexes.empty() ? nullptr : &frame.batch.index(op.indexes[0])[row];
    const int* to = op.indexes.empty() ? nullptr : &frame.batch.index(op.indexes[1])[row];
    visible = visible_keys(spec, queries.pos[row], length, from, to);
  }

  const Real* query(int head) const {
    return frame.tensor(op.inputs[0]) + (size_t(row) * spec.heads + head) * spec.head_dim;
  }
  size_t key_at(int j, int head) const {
    return size_t(j) * key_cols + head / (spec.heads / spec.kv_heads) * spec.head_dim;
  }
  int bucket(int j) const {
    return relative_bucket(j - queries.pos[row], buckets, spec.max_distance, spec.bidirectional);
  }

  double score(int j, int head) const {
    double sum = 0;
    for (int c = 0; c < spec.head_dim; c++)
      sum += static_cast<double>(query(head)[c]) * keys[key_at(j, head) + c];
    sum *= spec.scale;
    return bias ? sum + bias[size_t(bucket(j)) * spec.heads + head] : sum;
  }

  /// What dropout multiplies the weight of key j with: 0 or 1 / (1 - p).
  double kept(int j, int head) const {
    if (spec.dropout == 0) return 1;
    DropoutRow state = dropout_row(frame.batch.seed, op.site, queries.key[row], spec.first_head + head);
    return dropout_hash(state, j) < threshold ? 0 : 1 / (1 - spec.dropout);
  }

  const Op& op;
  const NaiveFrame<Real>& frame;
  const AttendSpec& spec;
  const Rows& queries;
  const Real* bias;
  int buckets, key_cols;
  uint32_t threshold;
  // of the row
  int row = 0, first = 0;  // `first`: where its sequence's keys begin
  const Real *keys = nullptr, *values = nullptr;
  KeyRange visible{0, 0};
};

}  // namespace

template <class Real>
void naive_attend(const Op& op, NaiveFrame<Real>& frame) {
  Attention<Real> attention(op, frame);
  const AttendSpec& spec = attention.spec;
  Real* log_sums = frame.tensor(op.outputs[1]);
  for (int row = 0; row < attention.queries.count; row++) {
    attention.look(row);
    auto [begin, end] = attention.visible;
    for (int head = 0; head < spec.heads; head++) {
      Real* y = frame.tensor(op.outputs[0]) + (size_t(row) * spec.heads + head) * spec.head_dim;
      std::vector<double> weights, sums(spec.head_dim);
      for (int j = begin; j < end; j++) weights.push_back(attention.score(j, head));
      double highest = weights.empty() ? 0 : *std::max_element(weights.begin(), weights.end()), total = 0;
      for (double& weight : weights) total += weight = std::exp(weight - highest);
      for (int j = begin; j < end; j++) {
        double weight = weights[j - begin] / total * attention.kept(j, head);
        const Real* value = attention.values + attention.key_at(j, head);
        for (int c = 0; c < spec.head_dim; c++) sums[c] += weight * value[c];
      }
      std::copy(sums.begin(), sums.end(), y);
      if (log_sums) log_sums[size_t(row) * spec.heads + head] = static_cast<Real>(highest + std::log(total));
    }
  }
}

/// With weights w = softmax(scores), kept weights k · w and y = Σ k w v: dv += k w dy; ds = w (k dy·v - Σ w k
/// dy·v).
template <class Real>
void naive_attend_backward(const NaiveGradients<Real>& to) {
  const auto& [frame, step] = to;
  const Op& op = step.op;
  Attention<Real> attention(op, frame);
  const AttendSpec& spec = attention.spec;
  const Real *dy = frame.tensor(step.d_output), *log_sums = frame.tensor(op.outputs[1]);
  Real *dq = to.cleared(0), *dk = to.cleared(1), *dv = to.cleared(2), *d_bias = to.weight(0);
  for (int row = 0; row < attention.queries.count; row++) {
    attention.look(row);
    auto [begin, end] = attention.visible;
    for (int head = 0; head < spec.heads; head++) {
      size_t at = (size_t(row) * spec.heads + head) * spec.head_dim;
      std::vector<double> weights, given;  // w, and k · dy·v
      double inner = 0;
      for (int j = begin; j < end; j++) {
        double weight = std::exp(attention.score(j, head) - log_sums[size_t(row) * spec.heads + head]);
        double kept = attention.kept(j, head), product = 0;
        size_t key = attention.key_at(j, head), stored = key + size_t(attention.first) * attention.key_cols;
        for (int c = 0; c < spec.head_dim; c++) {
          product += static_cast<double>(dy[at + c]) * attention.values[key + c];
          if (dv) dv[stored + c] += static_cast<Real>(kept * weight * dy[at + c]);
        }
        weights.push_back(weight);
        given.push_back(kept * product);
        inner += weight * kept * product;
      }
      for (int j = begin; j < end; j++) {
        double d_score = weights[j - begin] * (given[j - begin] - inner);
        if (d_bias) d_bias[size_t(attention.bucket(j)) * spec.heads + head] += static_cast<Real>(d_score);
        size_t key = attention.key_at(j, head), stored = key + size_t(attention.first) * attention.key_cols;
        for (int c = 0; c < spec.head_dim; c++) {
          if (dq) dq[at + c] += static_cast<Real>(d_score * spec.scale * attention.keys[key + c]);
          if (dk) dk[stored + c] += static_cast<Real>(d_score * spec.scale * attention.query(head)[c]);
        }
      }
    }
  }
}

template void naive_attend(const Op&, NaiveFrame<float>&);
template void naive_attend(const Op&, NaiveFrame<double>&);
template void naive_attend_backward(const NaiveGradients<float>&);
template void naive_attend_backward(const NaiveGradients<double>&);

}  // namespace textmill::nn
