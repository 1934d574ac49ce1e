#include "nn/cpu.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "nn/cpu_patterns.h"
#include "nn/quantized.h"

namespace textmill::nn {
namespace {

kernel::Type type_of(Format format) { return format == Format::f32 ? kernel::Type::f32 : kernel::Type::bf16; }

bool in_8_bits(const Plan& plan, const Op& op) {
  return op.kind == Kind::linear && plan.recording.weights[op.weights[0]]->dtype() == Dtype::i8;
}

void check_8_bits(const Plan& plan) {
  for (size_t w = 0; w < plan.uses.size(); w++) {
    const Weight& weight = *plan.recording.weights[w];
    if (weight.dtype() != Dtype::i8) continue;
    const WeightUse& use = plan.uses[w];
    const char* wrong = use.trained || use.transposed ? "cannot be trained"
                        : use.vector                  ? "is a vector, which has no 8-bit form"
                                                      : nullptr;
    if (wrong) {
      throw base::Error(base::Kind::invalid, "weight " + weight.name + ": is in 8 bits and " + wrong);
    }
  }
  for (const Step& step : plan.steps) {
    if (in_8_bits(plan, step.op) && step.op.weights.size() > 2) {
      throw base::Error(base::Kind::invalid, "weight " + plan.recording.weights[step.op.weights[0]]->name +
                                                 ": is in 8 bits and cannot have an adapter");
    }
  }
}

void check_known(const Plan& plan) {
  for (const Step& step : plan.steps) {
    Kind kind = step.phase == Phase::loss ? Kind::input : step.op.kind;
    bool known =
        step.phase != Phase::head && kind != Kind::contrastive && kind != Kind::enter && kind != Kind::leave;
    if (!known) {
      throw base::Error(
          base::Kind::invalid,
          std::string("the CPU engine does not run ") +
              (step.phase == Phase::head ? "fused heads (plan without fuse_head)" : name(kind)));
    }
  }
}

}  // namespace

Cpu::Cpu(const Plan& plan, kernel::Pool& pool) : Cpu(plan, pool, kernel::kernels(kernel::choose_path())) {}

Cpu::Cpu(const Plan& plan, kernel::Pool& pool, const kernel::Kernels& kernels)
    : plan_(plan),
      pool_(pool),
      kernels_(kernels),
      type_(nn::type_of(plan.options.format)),
      values_(plan.recording.weights.size()),
      gradients_(values_.size()),
      tensors_(plan.recording.tensors.size()),
      counts_(tensors_.size()) {
  check_known(plan);
  check_8_bits(plan);
  std::vector<size_t> offsets;
  size_t bytes = 0;
  auto place = [&](bool wanted, size_t size) {
    offsets.push_back(bytes);
    if (wanted) bytes += (size + 63) / 64 * 64;
  };
  for (size_t w = 0; w < values_.size(); w++) {
    const Weight& weight = *plan.recording.weights[w];
    if (plan.uses[w].trained) gradients_[w].resize(weight.count());
    place(plan.uses[w].product, weight.dtype() == Dtype::i8
                                    ? kernel::packed_bytes_in_8_bits(kernels_, weight.cols, weight.rows)
                                    : kernel::packed_bytes(kernels_, type_, weight.cols, weight.rows));
    place(plan.uses[w].transposed, kernel::packed_bytes(kernels_, type_, weight.rows, weight.cols));
  }
  packed_.at_least(bytes);
  for (size_t w = 0; w < values_.size(); w++) {
    if (plan.uses[w].product) values_[w].product = packed_.data() + offsets[2 * w];
    if (plan.uses[w].transposed) values_[w].transposed = packed_.data() + offsets[2 * w + 1];
  }
  for (const Group& group : plan.groups) fused_.push_back(is_fused(group));
  quantized_.resize(tensors_.size());
  for (const Step& step : plan.steps) {
    if (in_8_bits(plan, step.op) && !plan.recording.weights[step.op.weights[0]]->input())
      quantized_[step.op.inputs[0]] = true;
  }
  refresh();
}

void Cpu::refresh() {
  std::vector<float> widened;
  for (size_t w = 0; w < values_.size(); w++) {
    const WeightUse& use = plan_.uses[w];
    if (!(use.product || use.transposed || use.gathered || use.vector)) continue;
    TEXTMILL_CHECK(plan_.recording.weights[w]->has_values());
    if (plan_.recording.weights[w]->dtype() == Dtype::i8) {
      pack_in_8_bits(w);
    } else {
      pack(w, widened);
    }
  }
}

void Cpu::pack(size_t w, std::vector<float>& widened) {
  const Weight& weight = *plan_.recording.weights[w];
  const WeightUse& use = plan_.uses[w];
  Values& values = values_[w];
  bool f32 = weight.dtype() == Dtype::f32;
  std::vector<float>& wide = use.gathered || use.vector ? values.widened : widened;
  if (!f32) {
    wide.resize(weight.count());
    weight.read(0, weight.rows, wide.data());
  }
  values.f32 = f32 ? reinterpret_cast<const float*>(weight.bytes().data()) : wide.data();
  int rows = static_cast<int>(weight.rows), cols = static_cast<int>(weight.cols);
  if (use.product) kernel::pack_transposed(pool_, kernels_, type_, values.f32, rows, cols, values.product);
  if (use.transposed) kernel::pack(pool_, kernels_, type_, values.f32, rows, cols, values.transposed);
}

void Cpu::pack_in_8_bits(size_t w) {
  const Weight& weight = *plan_.recording.weights[w];
  Values& values = values_[w];
  values.bytes = reinterpret_cast<const int8_t*>(weight.bytes().data());
  values.scales = weight.scales().data();
  if (!plan_.uses[w].product) return;
  values.starts = sum_starts(weight);
  kernel::pack_in_8_bits(pool_, kernels_, values.bytes, static_cast<int>(weight.rows),
                         static_cast<int>(weight.cols), values.product);
}

void Cpu::clear_gradients() {
  for (auto& gradient : gradients_) std::fill(gradient.begin(), gradient.end(), 0.0F);
}

/// A chain is run as one phase if nobody else wants the tensors between its steps.
bool Cpu::is_fused(const Group& group) const {
  if (group.pattern < 0 || group.pattern == kLinearSiblings) return group.pattern >= 0;
  const Step &first = plan_.steps[group.first], &second = plan_.steps[group.first + 1];
  int link = first.phase == Phase::forward ? first.op.outputs[0] : second.d_output;
  return plan_.first_use[plan_.buffer[link]] < 0;
}

bool Cpu::run(const Batch& batch, const RootLoss& root_loss, const std::stop_token& stop) {
  batch_ = &batch;
  last_quantized_ = -1;
  plan_.assign(batch, layout_);
  std::byte* arena = arena_.at_least(layout_.bytes);
  for (size_t t = 0; t < tensors_.size(); t++) {
    tensors_[t] = layout_.offset[t] == Layout::kNowhere ? nullptr : arena + layout_.offset[t];
    counts_[t] = size(static_cast<int>(t));
  }
  for (size_t g = 0; g < plan_.groups.size(); g++) {
    if (stop.stop_requested()) return false;
    const Group& group = plan_.groups[g];
    if (fused_[g]) {
      run_group(group, root_loss);
    } else {
      for (int i = 0; i < group.count; i++) run_group({.first = group.first + i}, root_loss);
    }
  }
  return true;
}

void Cpu::run_group(const Group& group, const RootLoss& root_loss) {
  Steps steps = Steps(plan_.steps).subspan(group.first, group.count);
  const Step& step = steps[0];
  bool is_forward = step.phase == Phase::forward;
  conversions_used_ = 0;
  switch (group.pattern) {
    case kLinearChain: forward_linear(steps); break;
    case kLinearSiblings: is_forward ? forward_siblings(steps) : backward_linear(steps, nullptr); break;
    case kNormDropout: backward_norm_of_sum(steps); break;
    case kLinearActivate: backward_linear(steps.first(1), &steps[1]); break;
    default:
      if (step.phase == Phase::loss) {
        root(step, root_loss);
      } else if (is_forward) {
        forward(step);
      } else {
        backward(step);
      }
  }
  finish_writes();
}

void Cpu::root(const Step& step, const RootLoss& root_loss) {
  TEXTMILL_CHECK(root_loss);
  roots_.clear();
  for (size_t i = 0; i < step.reads.size(); i++) {
    int output = step.reads[i], gradient = step.d_inputs[i];
    roots_.push_back({f32(output), gradient < 0 ? nullptr : f32(gradient), count(output), cols(output)});
  }
  root_loss(roots_);
}

std::span<const float> Cpu::output(int i) const {
  int tensor = plan_.recording.outputs[i];
  return {f32(tensor), counts_[tensor]};
}

double Cpu::loss() const {
  double sum = 0;
  for (int tensor : plan_.recording.losses)
    sum = std::accumulate(f32(tensor), f32(tensor) + counts_[tensor], sum);
  return sum;
}

// ---- tensors in the type that a kernel wants

kernel::Type Cpu::type_of(int tensor) const { return nn::type_of(plan_.recording.tensors[tensor].format); }

void* Cpu::conversion(int64_t elements) {
  if (conversions_used_ == conversions_.size()) conversions_.emplace_back();
  return conversions_[conversions_used_++].at_least(elements * kernel::bytes_of(type_));
}

/// In the plan's type.
const void* Cpu::read(int tensor) {
  if (type_of(tensor) == type_) return tensors_[tensor];
  void* copy = conversion(size(tensor));
  kernel::convert(pool_, kernels_, tensors_[tensor], type_of(tensor), copy, type_, size(tensor));
  return copy;
}

void* Cpu::write(int tensor, bool accumulate) {
  if (type_of(tensor) == type_) return tensors_[tensor];
  void* copy = conversion(size(tensor));
  if (accumulate)
    kernel::convert(pool_, kernels_, tensors_[tensor], type_of(tensor), copy, type_, size(tensor));
  unfinished_.push_back({tensor, copy});
  return copy;
}

/// Room for a tensor in 8 bits; what was there is lost.
kernel::QuantizedRows Cpu::quantized_rows(int tensor) {
  last_quantized_ = tensor;
  last_input_ = {};
  return {reinterpret_cast<uint8_t*>(quantized_values_.at_least(size(tensor))),
          reinterpret_cast<float*>(quantized_scales_.at_least(count(tensor) * sizeof(float)))};
}

bool Cpu::is_quantized(int tensor, const Weight& weight) const {
  return last_quantized_ == tensor && last_input_ == weight.input();
}

/// The tensor in 8 bits: as a norm wrote it, or the product before this one asked for it, else quantized now.
kernel::QuantizedRows Cpu::quantized(int tensor, const Weight& weight) {
  int rows = count(tensor), width = cols(tensor);
  if (!is_quantized(tensor, weight)) {
    kernel::QuantizedRows out = quantized_rows(tensor);
    if (!weight.input()) {
      kernel::quantize(pool_, kernels_, type_of(tensor), rows, width, tensors_[tensor], out);
    } else {
      auto* x = static_cast<const float*>(tensors_[tensor]);
      if (type_of(tensor) != kernel::Type::f32) {
        auto* wide = reinterpret_cast<float*>(scratch(size(tensor) * sizeof(float)));
        kernel::convert(pool_, kernels_, x, type_of(tensor), wide, kernel::Type::f32, size(tensor));
        x = wide;
      }
      pool_.run(rows, [&](int row, int) {
        quantize_rows(x + int64_t{row} * width, 1, width, weight.input(), out.values + int64_t{row} * width,
                      out.scales + row);
      });
      last_input_ = weight.input();
    }
  }
  return {reinterpret_cast<uint8_t*>(quantized_values_.data()),
          reinterpret_cast<float*>(quantized_scales_.data())};
}

void Cpu::finish_writes() {
  for (auto [tensor, from] : unfinished_) {
    kernel::convert(pool_, kernels_, from, type_, tensors_[tensor], type_of(tensor), size(tensor));
  }
  unfinished_.clear();
}

const float* Cpu::vector(const Op& op, size_t k) const {
  return k < op.weights.size() && op.weights[k] >= 0 ? values_[op.weights[k]].f32 : nullptr;
}

float* Cpu::trained(const Step& step, size_t k) {
  return step.trains(k) ? gradients_[step.op.weights[k]].data() : nullptr;
}

void* Cpu::d_input(const Step& step, size_t k) {
  bool wanted = k < step.d_inputs.size() && step.d_inputs[k] >= 0 && !step.skips(k);
  return wanted ? write(step.d_inputs[k], step.accumulates(k)) : nullptr;
}

kernel::Dropout Cpu::dropout(const Op& op, int tensor) const {
  return {kernel::DropoutRate(op.as<DropoutSpec>().p), batch_->seed, op.site, rows(tensor).key.data()};
}

}  // namespace textmill::nn
