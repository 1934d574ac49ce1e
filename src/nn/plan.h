#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "nn/batch.h"
#include "nn/record.h"

namespace textmill::nn {

// A plan is a recording turned into steps: what to compute, in which order, for which rows, in whose memory. It is
// made once, at load; for each batch only a Layout (the offsets of an arena) is computed anew.
//
// An executor is a plain class over one plan. All have this shape (Naive<Real> in naive.h, the CPU engine):
//
//   explicit Executor(const Plan&, ...);           packs the weights as the plan uses them (Plan::uses)
//   void refresh();                                packs the trainable ones again, after an optimizer step
//   void run(const Batch&, const RootLoss& = {});  a batch derived with plan.recording; adds to the gradients
//   std::span<const float> output(int i);          of recording.outputs[i], [rows, cols], until the next run
//   double loss();                                 the sum of the recorded losses' rows
//   std::span<float> gradient(int weight);         of recording.weights[weight], as large; empty if it gets none
//   void clear_gradients();                        run() adds to them; the trainer clears

enum class Phase : uint8_t { forward, loss, head, backward };

/// One step. Tensors are numbers in Plan::recording.tensors, gradients included.
///
///   forward   runs `op`.
///   backward  from d_output (the gradient of op.outputs[0]), what was saved and the weights: d_inputs, and the
///             gradients of the weights in `trained`. A recorded loss has no d_output: its rows are the root.
///   loss      the caller's root loss reads the outputs and writes d_inputs, one per output.
///   head      `op`, a linear layer, `loss_op`, its cross-entropy, and both backwards, by chunks of rows, so that
///             the logits are never held. Writes the loss rows and d_inputs[0].
struct Step {
  Phase phase = Phase::forward;
  Op op;
  Op loss_op;               // head
  bool recomputed = false;  // forward, again; side results that were kept are -1
  int d_output = -1;
  std::vector<int> d_inputs;  // per input of op; -1: nobody needs it
  uint32_t accumulate = 0;    // bit i: d_inputs[i] is added to, else written
  uint32_t skip = 0;          // bit i: d_inputs[i] lies in d_output's memory and is already there
  uint32_t trained = 0;       // bit i: the gradient of op.weights[i] is added to
  std::vector<int> reads, writes;

  bool accumulates(size_t input) const { return accumulate >> input & 1; }
  bool skips(size_t input) const { return skip >> input & 1; }
  bool trains(size_t weight) const { return trained >> weight & 1; }
};

/// What an executor can run as one fused phase: a chain in which each step reads the first output of the step
/// before. A tensor that only the chain itself reads is elided: it is never stored.
struct Pattern {
  int id = 0;  // the executor's own
  const char* name = "";
  Phase phase = Phase::forward;
  std::vector<Kind> chain;
  bool siblings = false;  // instead: any number of chain[0] that read (backward: write) the same tensor
  bool (*accepts)(const Recording&, std::span<const Step* const>) = nullptr;  // the last word, if set
};

/// Steps [first, first + count) as one phase; a single step is a group of its own with pattern -1.
struct Group {
  int pattern = -1;  // Pattern::id
  int first = 0, count = 1;
};

enum class Backward : uint8_t {
  none,
  losses,   // of the recorded losses
  outputs,  // of the outputs; the caller's RootLoss gives their gradients
};

struct PlanOptions {
  Backward backward = Backward::none;
  bool narrow = true;       // compute only rows that somebody reads
  bool alias = true;        // elementwise steps write over what they read last
  bool fuse_head = true;    // see Phase::head; losses only
  bool save_slope = false;  // activate (without a gate) saves act'(x) in place of x; see Kind::activate
  bool recompute_all = false;
  std::vector<int> recompute;   // regions (Op::layer) whose tensors are computed again in the backward pass
  Format format = Format::f32;  // of activations and gradients; see Plan::recording.tensors for each
  std::span<const Pattern> patterns;  // tried in order, so the longest first
};

/// How a plan uses a weight, and so which copies of it an executor needs.
struct WeightUse {
  bool product = false;          // x · Wᵀ
  bool transposed = false;       // dy · W
  bool gathered = false;         // rows by index
  bool vector = false;           // bias, scale, gate, relative bias
  bool trained = false;          // has a gradient
  std::vector<int> gathered_by;  // the indexes; if `gathered` is all, only those rows of the gradient change
};

/// Where the tensors of one batch lie in the arena: bytes from its start, 64-byte aligned.
struct Layout {
  static constexpr size_t kNowhere = SIZE_MAX;  // elided, or never used
  std::vector<size_t> offset;                   // per tensor
  size_t bytes = 0;

  std::vector<size_t> size;  // scratch of assign()
  std::vector<int> order, placed;
};

struct Plan {
  Recording recording;  // narrowed, with the tensors that the passes added
  PlanOptions options;
  std::vector<Step> steps;
  std::vector<Group> groups;  // cover the steps in order
  std::vector<int> buffer;    // per tensor: the tensor whose memory it shares (itself, if none)
  // Per buffer, the first and the last group between which it has its memory; -1 if it has none.
  std::vector<int> first_use, last_use;
  std::vector<int> saved;               // tensors written forward and read backward
  std::vector<WeightUse> uses;          // per weight
  std::vector<std::vector<int>> ready;  // per step: weights whose gradient is final after it

  /// Offsets for the row counts of `batch`. No allocation once `layout` has seen the plan. `element_bytes` is
  /// that of all elements (8 for an executor in f64); 0: as each tensor's format says.
  void assign(const Batch& batch, Layout& layout, size_t element_bytes = 0) const;

  /// Of all products and attentions of the steps, for the rows of `batch`, 2 per multiply and add.
  int64_t flops(const Batch& batch) const;
  int64_t flops(const Step& step, const Batch& batch) const;
};

/// Throws invalid if the options ask for what the recording cannot give: a gradient through a cache, or of
/// losses that were not recorded.
Plan make_plan(Recording recording, PlanOptions options);

/// One output and the gradient that the root loss writes for it, [rows, cols], f32.
template <class Real>
struct RootRows {
  const Real* output;
  Real* gradient;
  int rows, cols;
};
template <class Real>
using RootLossOf = std::function<void(std::span<const RootRows<Real>>)>;
using RootLoss = RootLossOf<float>;

}  // namespace textmill::nn
