#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "nn/kernel/kernels.h"
#include "nn/kernel/pool.h"

namespace textmill::train {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0;
};

/// One trained weight, [values.size() / cols, cols].
struct Parameter {
  std::span<float> values, gradient;
  int64_t cols = 0;
  bool decays = true;
  /// Only the rows told to AdamW::prepare() have a gradient, such as those of a word embedding.
  bool by_rows = false;
};

/// AdamW (Loshchilov and Hutter 2019) with the arithmetic of torch.optim.AdamW in f32, and torch's clipping.
///
/// Rows without a gradient still move: their moments shrink, and push. For a parameter `by_rows` those steps are applied
/// when the row is next read or saved, or when most_deferred() steps wait, so that a save is never far away; one after the
/// other, with the same arithmetic: the bytes are those of applying them at once. Bytes do not depend on the number of
/// threads.
class AdamW {
 public:
  AdamW(std::vector<Parameter> parameters, AdamWOptions options, nn::kernel::Pool& pool);

  /// Before the step's forward pass: parameter `index` (by_rows) will be read in these rows (repeated ones count once),
  /// and the gradient of the coming step() is 0 elsewhere.
  void prepare(size_t index, std::span<const int32_t> rows);

  /// sqrt of the sum of squares over all gradients, in f64.
  double gradient_norm() const;

  /// One step with gradient · gradient_scale; then the gradients are 0.
  void step(double learning_rate, double gradient_scale);

  /// Applies every step to every row: before weights or moments are read as a whole.
  void settle();

  int64_t steps() const { return steps_; }
  /// Fewer for larger tables: settle() never has more than a second or two of work.
  int64_t most_deferred() const { return most_deferred_; }
  /// Steps that some row may not have seen.
  int64_t deferred() const { return steps_ - settled_; }
  std::span<float> first_moment(size_t index) { return state_[index].m; }
  std::span<float> second_moment(size_t index) { return state_[index].v; }
  /// After moments and values were loaded, settled.
  void restore(int64_t steps);

 private:
  struct Scalars {
    float decay, step_size, root_correction;  // 1 - lr·wd; lr/(1 - beta1^t); sqrt(1 - beta2^t)
  };
  struct State {
    std::vector<float> m, v;
    std::vector<int32_t> rows;     // by_rows: of the coming step
    std::vector<int64_t> applied;  // by_rows: steps that the row has seen
    std::vector<uint8_t> moving;   // by_rows: the row has had a gradient, so its moments may be other than 0
  };
  struct Piece {
    size_t parameter;
    int64_t first, count;  // values, or, by rows, places in State::rows
  };
  std::vector<Piece> pieces() const;
  Scalars scalars(double learning_rate, bool decays) const;  // of the coming step
  void catch_up(size_t index, int64_t row);
  static void shrink(std::span<float> row, std::span<const Scalars> steps);
  void update(size_t index, int64_t first, int64_t count, const Scalars& s, double gradient_scale);

  std::vector<Parameter> parameters_;
  AdamWOptions options_;
  nn::kernel::Pool* pool_;
  const nn::kernel::Kernels* kernels_;
  std::vector<State> state_;
  int64_t steps_ = 0, settled_ = 0, most_deferred_ = 256;
  std::vector<Scalars> passed_[2];  // of the steps after settled_, without decay and with
};

}  // namespace textmill::train
