#include <cmath>
#include <cstring>

#include "base/error.h"
#include "nn/cpu.h"
#include "nn/passes.h"

namespace textmill::nn {

kernel::Activation kernel_activation(Activation activation) {
  switch (activation) {
    case Activation::gelu: return kernel::Activation::gelu;
    case Activation::gelu_tanh: return kernel::Activation::gelu_tanh;
    case Activation::relu: return kernel::Activation::relu;
    case Activation::silu: return kernel::Activation::silu;
    case Activation::tanh: return kernel::Activation::tanh;
  }
  return kernel::Activation::none;
}

void Cpu::forward(const Step& step) {
  const Op& op = step.op;
  int y = op.outputs[0];
  switch (op.kind) {
    case Kind::input:
      std::memcpy(tensors_[y], batch_->input(y).data(), batch_->input(y).size_bytes());
      return;
    case Kind::embed: return embed(step);
    case Kind::linear: return forward_linear({&step, 1});
    case Kind::norm: return kernel::norm(pool_, kernels_, norm_of(op, write(y)));
    case Kind::activate: return kernel::activate(pool_, kernels_, activate_of(op, write(y)));
    case Kind::rotary: return rotate(op, read(op.inputs[0]), write(y), false, false);
    case Kind::remember: return remember(op);
    case Kind::attend: return attend(op);
    case Kind::add: return add(op);
    case Kind::scale:
    case Kind::dropout: return mix_one(op, op.inputs[0], y, false);
    case Kind::rows:
      return kernel::gather(pool_, type_, count(y), cols(y), read(op.inputs[0]),
                            batch_->index(op.indexes[0]).data(), write(y));
    case Kind::mean:
      return kernel::mean(pool_, kernels_, type_, cols(y), rows(op.inputs[0]).begin, read(op.inputs[0]),
                          write(y));
    case Kind::cross_entropy: return kernel::cross_entropy(pool_, kernels_, cross_entropy(op));
    default: TEXTMILL_CHECK(!"an operation that check_known() lets pass");
  }
}

void Cpu::backward(const Step& step) {
  const Op& op = step.op;
  switch (op.kind) {
    case Kind::embed: return embed(step);
    case Kind::linear: return backward_linear({&step, 1}, nullptr);
    case Kind::norm: {
      kernel::NormBackward b = norm_backward_of(step);
      b.dx = d_input(step, 0);
      b.accumulate = step.accumulates(0);
      return backward_norm(b);
    }
    case Kind::activate: return backward_activate(step);
    case Kind::rotary:
      if (void* dx = d_input(step, 0)) rotate(op, read(step.d_output), dx, true, step.accumulates(0));
      return;
    case Kind::attend: return backward_attend(step);
    case Kind::add: return backward_add(step);
    case Kind::scale:
    case Kind::dropout:
      if (step.d_inputs[0] >= 0 && !step.skips(0))
        mix_one(op, step.d_output, step.d_inputs[0], step.accumulates(0));
      return;
    case Kind::rows:
      if (void* dx = d_input(step, 0)) {
        int x = op.inputs[0];
        kernel::scatter(pool_, kernels_, type_, count(step.d_output), cols(x), read(step.d_output),
                        batch_->index(op.indexes[0]).data(), count(x), dx, step.accumulates(0));
      }
      return;
    case Kind::mean:
      if (void* dx = d_input(step, 0)) {
        kernel::mean_backward(pool_, kernels_, type_, cols(op.inputs[0]), rows(op.inputs[0]).begin,
                              read(step.d_output), dx, step.accumulates(0));
      }
      return;
    case Kind::cross_entropy:
      if (void* dx = d_input(step, 0))
        kernel::cross_entropy_backward(pool_, kernels_, cross_entropy(op), dx, step.accumulates(0));
      return;
    default: TEXTMILL_CHECK(!"an operation that check_known() lets pass");
  }
}

void Cpu::embed(const Step& step) {
  const Op& op = step.op;
  TEXTMILL_CHECK(op.weights.size() <= kernel::Embed::kMaxTables);
  int y = op.outputs[0];
  bool back = step.phase == Phase::backward;
  kernel::Embed e{
      .type = type_, .rows = count(y), .cols = cols(y), .count = static_cast<int>(op.weights.size())};
  for (int k = 0; k < e.count; k++) {
    const Values& table = values_[op.weights[k]];
    e.tables[k] = {table.f32, table.bytes, table.scales, batch_->index(op.indexes[k]).data(),
                   back ? trained(step, k) : nullptr};
  }
  if (back) return kernel::embed_backward(pool_, kernels_, e, read(step.d_output));
  e.y = write(y);
  kernel::embed(pool_, kernels_, e);
}

kernel::Norm Cpu::norm_of(const Op& op, void* y) {
  const NormSpec& spec = op.as<NormSpec>();
  int x = op.inputs[0];
  const Weight* reader =
      y != nullptr && type_of(op.outputs[0]) == type_ ? quantized_[op.outputs[0]] : nullptr;
  return {.kind = spec.kind == NormKind::layer ? kernel::NormKind::layer
                  : spec.kind == NormKind::rms ? kernel::NormKind::rms
                                               : kernel::NormKind::l2,
          .type = type_,
          .rows = count(x),
          .cols = cols(x),
          .size = spec.size,
          .eps = static_cast<float>(spec.eps),
          .scale = vector(op, 0),
          .bias = vector(op, 1),
          .x = read(x),
          .y = y,
          .quantized = reader ? quantized_rows(op.outputs[0], *reader) : kernel::QuantizedRows{},
          .scaling = reader ? scaling_of(*reader) : kernel::InputScaling{},
          .side = op.outputs[1] < 0 ? nullptr : f32(op.outputs[1])};
}

kernel::NormBackward Cpu::norm_backward_of(const Step& step) {
  return {.norm = norm_of(step.op, nullptr),
          .dy = read(step.d_output),
          .d_scale = trained(step, 0),
          .d_bias = trained(step, 1)};
}

void Cpu::backward_norm(const kernel::NormBackward& b) {
  kernel::norm_backward(pool_, kernels_, b, scratch(kernel::norm_backward_bytes(b.norm.rows, b.norm.size)));
}

/// norm, add, dropout: one pass writes the gradient of the sum's plain side and, dropped out, that of the other.
void Cpu::backward_norm_of_sum(Steps steps) {
  const Step &sum = steps[1], &dropped = steps[2];
  size_t plain = sum.d_inputs[0] == dropped.d_output ? 1 : 0;
  kernel::NormBackward b = norm_backward_of(steps[0]);
  b.dx = write(sum.d_inputs[plain], sum.accumulates(plain));
  b.accumulate = sum.accumulates(plain);
  b.d_dropped = write(dropped.d_inputs[0]);
  b.dropout = dropout(dropped.op, dropped.d_inputs[0]);
  backward_norm(b);
}

kernel::Activate Cpu::activate_of(const Op& op, void* y) {
  bool gated = op.inputs.size() > 1, sloped = op.outputs.size() > 1 && op.outputs[1] >= 0;
  return {.activation = kernel_activation(op.as<ActivateSpec>().activation),
          .type = type_,
          .rows = count(op.inputs[0]),
          .cols = cols(op.inputs[0]),
          .x = read(op.inputs[0]),
          .gate = gated ? read(op.inputs[1]) : nullptr,
          .y = y,
          .slope = sloped ? tensors_[op.outputs[1]] : nullptr};
}

void Cpu::backward_activate(const Step& step) {
  kernel::ActivateBackward b{.forward = activate_of(step.op, nullptr),
                             .dy = read(step.d_output),
                             .dx = d_input(step, 0),
                             .d_gate = d_input(step, 1),
                             .accumulate = step.accumulates(0),
                             .accumulate_gate = step.accumulates(1)};
  kernel::activate_backward(pool_, kernels_, b);
}

/// A rotation by each row's position, or back.
void Cpu::rotate(const Op& op, const void* x, void* y, bool back, bool accumulate) {
  const RotarySpec& spec = op.as<RotarySpec>();
  const Rows& of = rows(op.outputs[0]);
  int pairs = static_cast<int>(spec.frequencies.size());
  auto* angles = reinterpret_cast<float*>(scratch(2 * sizeof(float) * of.count * pairs));  // cosine and sine
  pool_.run(of.count, [&](int row, int) {
    for (int j = 0; j < pairs; j++) {
      double angle = of.pos[row] * spec.frequencies[j];
      angles[(int64_t{row} * pairs + j) * 2] = static_cast<float>(std::cos(angle));
      angles[(int64_t{row} * pairs + j) * 2 + 1] =
          static_cast<float>(back ? -std::sin(angle) : std::sin(angle));
    }
  });
  kernel::rotate(pool_, type_, of.count, cols(op.outputs[0]), spec.head_dim, pairs, angles, x, y, accumulate);
}

/// x + tanh(gate) · mask · y.
void Cpu::add(const Op& op) {
  int out = op.outputs[0];
  const float* gate = vector(op, 0);
  kernel::Mix m{.type = type_,
                .rows = count(out),
                .cols = cols(out),
                .a = {.x = read(op.inputs[0])},
                .b = {.x = read(op.inputs[1]), .factor = gate ? std::tanh(*gate) : 1},
                .out = write(out)};
  if (!op.indexes.empty()) m.b.mask = batch_->index(op.indexes[0]).data();
  kernel::mix(pool_, kernels_, m);
}

void Cpu::backward_add(const Step& step) {
  const Op& op = step.op;
  const float* gate = vector(op, 0);
  const int32_t* mask = op.indexes.empty() ? nullptr : batch_->index(op.indexes[0]).data();
  int out = step.d_output;
  float opening = gate ? std::tanh(*gate) : 1;
  if (float* d_gate = trained(step, 0)) {
    double sum = kernel::dot(pool_, kernels_, type_, count(out), cols(out), read(out), read(op.inputs[1]),
                             mask, scratch(kernel::dot_bytes(count(out))));
    *d_gate += static_cast<float>(sum * (1 - double{opening} * opening));
  }
  for (size_t k : {0, 1}) {
    if (step.d_inputs[k] < 0 || step.skips(k)) continue;
    kernel::Mix m{.type = type_,
                  .rows = count(out),
                  .cols = cols(out),
                  .a = {.x = read(out)},
                  .b = {},
                  .out = d_input(step, k),
                  .accumulate = step.accumulates(k)};
    if (k == 1) m.a.factor = opening, m.a.mask = mask;
    kernel::mix(pool_, kernels_, m);
    finish_writes();  // add(x, x) writes, then adds to, one gradient
  }
}

/// scale or dropout, in either direction.
void Cpu::mix_one(const Op& op, int from, int to, bool accumulate) {
  kernel::Mix m{.type = type_,
                .rows = count(to),
                .cols = cols(to),
                .a = {.x = read(from)},
                .b = {},
                .out = write(to, accumulate),
                .accumulate = accumulate};
  if (op.kind == Kind::scale) {
    m.a.factor = static_cast<float>(op.as<ScaleSpec>().factor);
  } else {
    m.a.dropout = dropout(op, to);
  }
  kernel::mix(pool_, kernels_, m);
}

kernel::CrossEntropy Cpu::cross_entropy(const Op& op) {
  return {.type = type_,
          .rows = count(op.inputs[0]),
          .cols = cols(op.inputs[0]),
          .logits = read(op.inputs[0]),
          .labels = batch_->index(op.indexes[0]).data(),
          .weights = f32(op.inputs[1]),
          .losses = f32(op.outputs[0]),
          .log_sums = f32(op.outputs[1])};
}

}  // namespace textmill::nn
