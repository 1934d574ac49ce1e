#include "nn/cpu.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/checksum.h"
#include "base/error.h"
#include "base/log.h"
#include "nn/cpu_patterns.h"
#include "nn/packed.h"
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

std::optional<kernel::FewBitsShape> few_bits_of(const Weight& weight) {
  auto codes = weight.packed() ? weight.packed()->codes() : std::nullopt;
  if (!codes) return {};
  return kernel::FewBitsShape{.rows = static_cast<int>(weight.rows),
                              .cols = static_cast<int>(weight.cols),
                              .bits = codes->bits <= 4 ? 4 : 8,
                              .groups = codes->groups,
                              .divided = codes->divisors != nullptr};
}

Cpu::Cpu(const Plan& plan, kernel::Pool& pool, const PackedCache* cache)
    : Cpu(plan, pool, kernel::kernels(kernel::choose_path()), cache) {}

Cpu::Cpu(const Plan& plan, kernel::Pool& pool, const kernel::Kernels& kernels, const PackedCache* cache)
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
  for (size_t w = 0; w < values_.size(); w++) {
    if (plan.uses[w].trained) gradients_[w].resize(plan.recording.weights[w]->count());
  }
  for (const Group& group : plan.groups) fused_.push_back(is_fused(group));
  quantized_.resize(tensors_.size());
  for (const Step& step : plan.steps) {
    if (!in_8_bits(plan, step.op)) continue;
    const Weight*& reader = quantized_[step.op.inputs[0]];
    if (!reader) reader = plan.recording.weights[step.op.weights[0]];
  }
  if (cache) {
    map_or_keep(*cache);
  } else {
    pack_into_memory();
  }
}

/// The weights' copies one after the other from `base` on, if it is given, each where a cache line begins. Returns their bytes.
size_t Cpu::place(std::byte* base) {
  size_t end = 0;
  auto next = [&](bool wanted, size_t size) -> std::byte* {
    if (!wanted) return nullptr;
    std::byte* at = base ? base + end : nullptr;
    end += (size + 63) / 64 * 64;
    return at;
  };
  for (size_t w = 0; w < values_.size(); w++) {
    const Weight& weight = *plan_.recording.weights[w];
    const WeightUse& use = plan_.uses[w];
    bool in_8_bits = weight.dtype() == Dtype::i8;
    auto few_bits = few_bits_of(weight);
    values_[w].product =
        next(use.product, in_8_bits  ? kernel::packed_bytes_in_8_bits(kernels_, weight.cols, weight.rows)
                          : few_bits ? kernel::few_bits_bytes(kernels_, *few_bits)
                                     : kernel::packed_bytes(kernels_, type_, weight.cols, weight.rows));
    if (few_bits && values_[w].product) {
      values_[w].few_bits = kernel::few_bits_at(kernels_, *few_bits, values_[w].product);
    }
    values_[w].transposed =
        next(use.transposed, kernel::packed_bytes(kernels_, type_, weight.rows, weight.cols));
    values_[w].starts =
        reinterpret_cast<int32_t*>(next(use.product && in_8_bits, weight.rows * sizeof(int32_t)));
  }
  return end;
}

/// Of all that place() depends on.
uint64_t Cpu::layout() const {
  std::string text;
  for (size_t w = 0; w < values_.size(); w++) {
    const Weight& weight = *plan_.recording.weights[w];
    text += fmt::format("{} {} {} {} {}{}", weight.name, weight.rows, weight.cols,
                        static_cast<int>(weight.dtype()), plan_.uses[w].product, plan_.uses[w].transposed);
    if (auto few = few_bits_of(weight))
      text += fmt::format(" {} {} {}", few->bits, few->groups, few->divided);
    text += '\n';
  }
  return base::crc64nvme(std::as_bytes(std::span(text)));
}

void Cpu::map_or_keep(const PackedCache& cache) {
  std::string name =
      fmt::format("{}.{}", kernel::name(kernels_.path), type_ == kernel::Type::f32 ? "f32" : "bf16");
  Prepacked kept(cache, name, layout());
  size_t bytes = place(nullptr);
  auto map = [&] {
    mapped_ = kept.open(bytes);
    // Nothing writes there: pack_all() leaves out what is mapped.
    if (mapped_) place(const_cast<std::byte*>(kept.bytes(*mapped_).data()));
    return mapped_.has_value();
  };
  const char* how = "mapped";
  if (map()) {
    pack_all();
  } else {
    pack_into_memory();
    bool written = kept.write({packed_.data(), bytes});
    how = written ? "written" : "memory";
    if (written && map()) packed_ = {};
  }
  base::log(base::Level::info, "packed_weights", {{"bytes", bytes}, {"from", how}, {"cpu", name}});
}

void Cpu::pack_into_memory() {
  mapped_.reset();
  place(packed_.at_least(place(nullptr)));
  pack_all();
}

void Cpu::refresh() {
  if (mapped_) {
    pack_into_memory();
  } else {
    pack_all();
  }
}

void Cpu::pack_all() {
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
  // A page of a mapped file brings its neighbours: 64 KiB for a vector of a few hundred bytes.
  bool in_place = weight.dtype() == Dtype::f32 && (use.trained || !use.vector);
  bool kept = use.gathered || use.vector;
  bool in_few_bits = static_cast<bool>(values.few_bits);
  if (in_few_bits && !mapped_) pack_few_bits(w);
  if (!kept && (mapped_ || (in_few_bits && !use.transposed))) return;
  std::vector<float>& wide = kept ? values.widened : widened;
  if (!in_place) {
    wide.resize(weight.count());
    weight.read(0, weight.rows, wide.data());
  }
  values.f32 = in_place ? reinterpret_cast<const float*>(weight.bytes().data()) : wide.data();
  int rows = static_cast<int>(weight.rows), cols = static_cast<int>(weight.cols);
  if (mapped_) return;
  if (use.product && !in_few_bits)
    kernel::pack_transposed(pool_, kernels_, type_, values.f32, rows, cols, values.product);
  if (use.transposed) kernel::pack(pool_, kernels_, type_, values.f32, rows, cols, values.transposed);
}

void Cpu::pack_in_8_bits(size_t w) {
  const Weight& weight = *plan_.recording.weights[w];
  Values& values = values_[w];
  values.bytes = reinterpret_cast<const int8_t*>(weight.bytes().data());
  values.scales = weight.scales().data();
  if (!plan_.uses[w].product || mapped_) return;
  std::ranges::copy(sum_starts(weight), values.starts);
  kernel::pack_in_8_bits(pool_, kernels_, values.bytes, static_cast<int>(weight.rows),
                         static_cast<int>(weight.cols), values.product);
}

void Cpu::pack_few_bits(size_t w) {
  const Weight& weight = *plan_.recording.weights[w];
  const Packed& packed = *weight.packed();
  Packed::Codes parts = *packed.codes();
  std::vector<uint8_t> codes(weight.count());
  std::vector<float> scales(weight.rows * parts.groups), zeros(scales.size());
  pool_.run(static_cast<int>(weight.rows), [&](int row, int) {
    int64_t group = int64_t{row} * parts.groups;
    packed.read_codes(row, &codes[row * weight.cols], &scales[group], &zeros[group]);
  });
  kernel::pack_few_bits(
      pool_, kernels_,
      {*few_bits_of(weight), codes.data(), scales.data(), zeros.data(), parts.group_of, parts.divisors},
      values_[w].product);
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

kernel::InputScaling scaling_of(const Weight& weight) {
  const InputScales& input = weight.input();
  return {input.columns.empty() ? nullptr : input.columns.data(), input.step};
}

/// Room for a tensor in 8 bits, as the weight takes it; what was there is lost.
kernel::QuantizedRows Cpu::quantized_rows(int tensor, const Weight& weight) {
  last_quantized_ = tensor;
  last_input_ = weight.input();
  return {reinterpret_cast<uint8_t*>(quantized_values_.at_least(size(tensor))),
          reinterpret_cast<float*>(quantized_scales_.at_least(count(tensor) * sizeof(float)))};
}

bool Cpu::is_quantized(int tensor, const Weight& weight) const {
  return last_quantized_ == tensor && last_input_ == weight.input();
}

/// The tensor in 8 bits: as a norm wrote it, or the product before this one asked for it, else quantized now.
kernel::QuantizedRows Cpu::quantized(int tensor, const Weight& weight) {
  if (!is_quantized(tensor, weight)) {
    kernel::quantize(pool_, kernels_, type_of(tensor), count(tensor), cols(tensor), tensors_[tensor],
                     scaling_of(weight), quantized_rows(tensor, weight));
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
