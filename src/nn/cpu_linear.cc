#include <array>

#include "base/error.h"
#include "nn/cpu.h"

namespace textmill::nn {

kernel::Term Cpu::term(const Op& op, size_t weight, const void* x) const {
  const Weight& w = *plan_.recording.weights[op.weights[weight]];
  const Values& values = values_[op.weights[weight]];
  return {x, values.product, static_cast<int>(w.cols), values.few_bits ? &values.few_bits : nullptr};
}

void Cpu::multiply(std::span<const kernel::Product> products) {
  size_t bytes = kernel::multiply_bytes(pool_, kernels_, products);
  kernel::multiply(pool_, kernels_, products, bytes > 0 ? scratch(bytes) : nullptr);
}

/// x · Wᵀ + bias, and with an adapter + scale · (x · aᵀ) · bᵀ, into `out`.
kernel::Product Cpu::product(const Step& step, int out) {
  const Op& op = step.op;
  kernel::Product p{.type = type_, .out_type = type_of(out), .rows = count(out), .cols = cols(out)};
  if (const Values& w = values_[op.weights[0]]; w.bytes) {
    auto [x, scales] = quantized(op.inputs[0], *plan_.recording.weights[op.weights[0]]);
    p.terms[p.term_count++] = term(op, 0, x);
    p.in_8_bits = {scales, w.scales, w.starts};
  } else {
    const void* x = read(op.inputs[0]);
    p.terms[p.term_count++] = term(op, 0, x);
    if (op.weights.size() > 2) p.terms[p.term_count++] = term(op, 3, adapted(op, x));
  }
  p.bias = vector(op, 1);
  p.out = tensors_[out];
  return p;
}

/// scale · x · aᵀ: what an adapter keeps of a row.
const void* Cpu::adapted(const Op& op, const void* x) {
  int rank = static_cast<int>(plan_.recording.weights[op.weights[2]]->rows), rows = count(op.inputs[0]);
  kernel::Product inner{.type = type_, .out_type = type_, .rows = rows, .cols = rank};
  inner.terms[inner.term_count++] = term(op, 2, x);
  inner.scale = static_cast<float>(op.as<LinearSpec>().adapter_scale);
  inner.out = conversion(int64_t{rows} * rank);
  multiply({&inner, 1});
  return inner.out;
}

void Cpu::forward_linear(Steps chain) {
  kernel::Product p = product(chain[0], chain.back().op.outputs[0]);
  int made = chain[0].op.outputs[0];
  for (const Step& step : chain.subspan(1)) {
    const Op& op = step.op;
    if (op.kind == Kind::activate) {
      p.activation = kernel_activation(op.as<ActivateSpec>().activation);
      if (op.outputs.size() > 1 && op.outputs[1] >= 0) p.slope = tensors_[op.outputs[1]];
    } else if (op.kind == Kind::dropout) {
      p.dropout = dropout(op, op.outputs[0]);
    } else {
      p.residual = read(op.inputs[op.inputs[0] == made ? 1 : 0]);
    }
    made = op.outputs[0];
  }
  multiply({&p, 1});
}

void Cpu::forward_siblings(Steps steps) {
  std::array<kernel::Product, kernel::Product::kMaxTerms> products;
  size_t first = 0;  // of those that wait
  auto run = [&](size_t end) {
    if (first < end) multiply(std::span(products).subspan(first, end - first));
    first = end;
  };
  for (size_t i = 0; i < steps.size(); i++) {
    // Another input in 8 bits takes the place of that which the others read.
    const Weight& weight = *plan_.recording.weights[steps[i].op.weights[0]];
    if (weight.dtype() == Dtype::i8 && !is_quantized(steps[i].op.inputs[0], weight)) run(i);
    products[i] = product(steps[i], steps[i].op.outputs[0]);
  }
  run(steps.size());
}

/// The gradient of the steps' one input: Σ dy · W, multiplied by the slope of the activation before them, if it is given.
void Cpu::backward_linear(Steps steps, const Step* activation) {
  gradients_of_linear(steps);
  const Step& target = activation ? *activation : steps[0];
  int out = target.d_inputs[0];
  if (out >= 0) {
    kernel::Product p{.type = type_, .out_type = type_of(out), .rows = count(out), .cols = cols(out)};
    for (const Step& step : steps) {
      const Op& op = step.op;
      p.terms[p.term_count++] = {read(step.d_output), values_[op.weights[0]].transposed, cols(step.d_output)};
      if (op.weights.size() > 2) p.terms[p.term_count++] = adapter_term(step);
    }
    if (activation) p.factor = tensors_[activation->op.outputs[1]];
    if (target.accumulates(0)) p.residual = read(out);
    p.out = tensors_[out];
    multiply({&p, 1});
  }
}

/// scale · dy · b, to be multiplied with a.
const void* Cpu::d_adapted(const Step& step) {
  const Op& op = step.op;
  int rank = static_cast<int>(plan_.recording.weights[op.weights[2]]->rows), rows = count(step.d_output);
  kernel::Product inner{.type = type_, .out_type = type_, .rows = rows, .cols = rank};
  inner.terms[inner.term_count++] = {read(step.d_output), values_[op.weights[3]].transposed,
                                     cols(step.d_output)};
  inner.scale = static_cast<float>(op.as<LinearSpec>().adapter_scale);
  inner.out = conversion(int64_t{rows} * rank);
  multiply({&inner, 1});
  return inner.out;
}

kernel::Term Cpu::adapter_term(const Step& step) {
  return {d_adapted(step), values_[step.op.weights[2]].transposed,
          static_cast<int>(plan_.recording.weights[step.op.weights[2]]->rows)};
}

void Cpu::gradients_of_linear(Steps steps) {
  std::array<kernel::WeightGradient, 3 * kernel::Product::kMaxTerms> gradients;
  size_t wanted = 0;
  for (const Step& step : steps) {
    const Op& op = step.op;
    int out = cols(step.d_output), in = cols(op.inputs[0]);
    float *dw = trained(step, 0), *db = trained(step, 1);
    if (dw) {
      gradients[wanted++] = {read(step.d_output), read(op.inputs[0]), out, in, dw, db, true};
    } else if (db) {
      kernel::sum_rows(pool_, type_, count(step.d_output), out, read(step.d_output), db);
    }
    if (op.weights.size() < 4) continue;
    int rank = static_cast<int>(plan_.recording.weights[op.weights[2]]->rows);
    const void* x = read(op.inputs[0]);
    if (float* da = trained(step, 2)) gradients[wanted++] = {d_adapted(step), x, rank, in, da, nullptr, true};
    if (float* d = trained(step, 3))
      gradients[wanted++] = {read(step.d_output), adapted(op, x), out, rank, d, nullptr, true};
  }
  if (wanted == 0) return;
  auto all = std::span<const kernel::WeightGradient>(gradients).first(wanted);
  int rows = count(steps[0].d_output);
  std::byte* space = scratch(kernel::weight_gradient_bytes(kernels_, type_, rows, all));
  kernel::weight_gradients(pool_, kernels_, type_, rows, all, space);
}

}  // namespace textmill::nn
