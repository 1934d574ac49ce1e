#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <stop_token>
#include <vector>

#include "nn/batch.h"
#include "nn/buffer.h"
#include "nn/kernel/attention.h"
#include "nn/kernel/kernels.h"
#include "nn/kernel/pool.h"
#include "nn/plan.h"
#include "nn/prepacked.h"

namespace textmill::nn {

/// What the CPU engine fuses; give it to make_plan as PlanOptions::patterns.
std::span<const Pattern> cpu_patterns();

kernel::Activation kernel_activation(Activation activation);
kernel::InputScaling scaling_of(const Weight& weight);
/// How products take a weight that is kept in few bits; nothing of any other.
std::optional<kernel::FewBitsShape> few_bits_of(const Weight& weight);

/// The CPU engine: runs a plan with the kernels of nn/kernel, in the plan's format (f32 or bf16; sums, weights'
/// gradients and side results are f32). Bytes do not depend on the number of threads, nor, for a sequence, on what else
/// is in the batch. Nothing is allocated by a run with no more rows than an earlier one had.
///
/// Matrices are packed into memory of its own, or mapped from a cache; vectors are copied; tables, and what is trained, are read
/// where they lie if they are f32, so the plan's weights must keep their values as long as the engine lives (a mapped file may drop its pages:
/// they come back).
class Cpu {
 public:
  /// Throws invalid if the plan has operations that this engine does not know: contrastive losses and tensor parallelism.
  Cpu(const Plan& plan, kernel::Pool& pool, const PackedCache* cache = nullptr);
  Cpu(const Plan& plan, kernel::Pool& pool, const kernel::Kernels& kernels,
      const PackedCache* cache = nullptr);

  /// After weights changed.
  void refresh();
  bool is_mapped() const { return mapped_.has_value(); }
  /// False if it was stopped midway: then outputs and gradients are worth nothing.
  bool run(const Batch& batch, const RootLoss& root_loss = {}, const std::stop_token& stop = {});

  std::span<const float> output(int i) const;
  double loss() const;
  std::span<float> gradient(int weight) { return gradients_[weight]; }
  void clear_gradients();
  /// Drops what a cache (Batch::caches) holds.
  void forget(int cache) { caches_.erase(cache); }

  size_t arena_bytes() const { return arena_.size(); }

 private:
  using Steps = std::span<const Step>;

  /// The copies of one weight.
  struct Values {
    std::byte *product = nullptr, *transposed = nullptr;  // packed
    std::vector<float> widened;                           // of a table or vector that is not f32
    const float* f32 = nullptr;
    const int8_t* bytes = nullptr;  // of a weight in 8 bits, with the scales of its rows
    const float* scales = nullptr;
    int32_t* starts = nullptr;  // of sums with it, beside the packed copy
    kernel::FewBits few_bits;   // in place of a product's copy
  };
  struct CacheSlot {
    Buffer keys, values;  // rows, in the plan's type
    int count = 0;
  };
  struct Conversion {
    int tensor;
    const void* from;
  };

  // Tensors in the type that a kernel wants: the tensor itself, or a converted copy.
  kernel::Type type_of(int tensor) const;
  int cols(int tensor) const { return plan_.recording.tensors[tensor].cols; }
  const Rows& rows(int tensor) const { return batch_->rows(plan_.recording.tensors[tensor].space); }
  int count(int tensor) const { return rows(tensor).count; }
  int64_t size(int tensor) const { return int64_t{count(tensor)} * cols(tensor); }
  const void* read(int tensor);
  void* write(int tensor, bool accumulate = false);
  kernel::QuantizedRows quantized_rows(int tensor, const Weight& weight);
  bool is_quantized(int tensor, const Weight& weight) const;
  kernel::QuantizedRows quantized(int tensor, const Weight& weight);
  void finish_writes();
  void* conversion(int64_t elements);
  float* f32(int tensor) const { return static_cast<float*>(tensors_[tensor]); }
  std::byte* scratch(size_t bytes) { return scratch_.at_least(bytes); }

  const float* vector(const Op& op, size_t k) const;  // null if absent
  float* trained(const Step& step, size_t k);         // the gradient to add to; null if frozen
  void* d_input(const Step& step, size_t k);          // null if nobody wants it, or if it is there already
  kernel::Dropout dropout(const Op& op, int tensor) const;
  bool is_fused(const Group& group) const;

  void run_group(const Group& group, const RootLoss& root_loss);
  void forward(const Step& step);
  void backward(const Step& step);
  void root(const Step& step, const RootLoss& root_loss);

  kernel::Term term(const Op& op, size_t weight, const void* x) const;
  kernel::Product product(const Step& step, int out);
  void multiply(std::span<const kernel::Product> products);
  void forward_linear(Steps chain);
  void forward_siblings(Steps steps);
  void backward_linear(Steps steps, const Step* activation);
  void gradients_of_linear(Steps steps);
  const void* adapted(const Op& op, const void* x);
  const void* d_adapted(const Step& step);
  kernel::Term adapter_term(const Step& step);
  kernel::NormBackward norm_backward_of(const Step& step);
  void backward_norm(const kernel::NormBackward& b);
  void backward_norm_of_sum(Steps steps);

  void embed(const Step& step);
  kernel::Norm norm_of(const Op& op, void* y);
  kernel::Activate activate_of(const Op& op, void* y);
  void backward_activate(const Step& step);
  void rotate(const Op& op, const void* x, void* y, bool back, bool accumulate);
  void add(const Op& op);
  void backward_add(const Step& step);
  void mix_one(const Op& op, int from, int to, bool accumulate);
  kernel::CrossEntropy cross_entropy(const Op& op);

  void remember(const Op& op);
  void attend(const Op& op);
  void backward_attend(const Step& step);
  kernel::Attention attention(const Op& op);
  void fill_runs(const Rows& queries, int sequences);
  void fill_keys(const Op& op);
  void fill_visible(const Op& op);
  void fill_bias(const Op& op);
  int bias_bucket(const Op& op, int relative) const;
  void add_bias_gradient(const Op& op, float* gradient) const;

  size_t place(std::byte* base);
  uint64_t layout() const;
  void map_or_keep(const PackedCache& cache);
  void pack_into_memory();
  void pack_all();
  void pack(size_t weight, std::vector<float>& widened);
  void pack_in_8_bits(size_t weight);
  void pack_few_bits(size_t weight);

  const Plan& plan_;
  kernel::Pool& pool_;
  const kernel::Kernels& kernels_;
  kernel::Type type_;
  Buffer packed_, arena_, scratch_;
  std::optional<base::MappedFile> mapped_;     // instead of packed_
  std::vector<Values> values_;                 // per weight
  std::vector<std::vector<float>> gradients_;  // per weight
  std::vector<bool> fused_;                    // per group
  std::vector<const Weight*> quantized_;  // per tensor: of the first product in 8 bits that reads it, or null
  std::map<int, std::vector<CacheSlot>> caches_;

  // Of the batch that runs.
  const Batch* batch_ = nullptr;
  Layout layout_;
  std::vector<void*> tensors_;
  std::vector<size_t> counts_;       // rows, kept for output()
  std::vector<Buffer> conversions_;  // buffers of converted tensors
  size_t conversions_used_ = 0;
  std::vector<Conversion> unfinished_;
  Buffer quantized_values_, quantized_scales_;  // of the tensor that was quantized last
  int last_quantized_ = -1;
  InputScales last_input_;
  std::vector<RootRows<float>> roots_;

  // Of the attention that runs.
  std::vector<kernel::QueryRun> runs_;
  std::vector<int32_t> first_run_, visible_begin_, visible_end_;
  std::vector<kernel::KeyRows> keys_;
  std::vector<float> bias_, d_bias_;
  int bias_reach_ = 0;
};

}  // namespace textmill::nn
