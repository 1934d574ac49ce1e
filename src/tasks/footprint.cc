#include "tasks/footprint.h"

#include <algorithm>

#include "nn/cpu.h"

namespace textmill::tasks {

nn::Batch rows_of(const nn::Plan& plan, const models::EncoderInputs& inputs,
                  std::span<const int32_t> lengths) {
  nn::Batch batch;
  batch.set_rows(inputs.tokens, lengths);
  batch.derive_rows(plan.recording);
  return batch;
}

Footprint footprint(const nn::Plan& plan, const models::EncoderInputs& inputs,
                    std::span<const int32_t> lengths) {
  Footprint bytes;
  int64_t element = plan.options.format == nn::Format::bf16 ? 2 : 4;
  for (size_t i = 0; i < plan.uses.size(); i++) {
    const nn::WeightUse& use = plan.uses[i];
    const nn::Weight& weight = *plan.recording.weights[i];
    int64_t count = weight.count();
    if (weight.dtype() == nn::Dtype::i8) {
      bytes.packed += (count + 8 * weight.rows) * use.product;  // and a start and a scale a row
      bytes.tables += (count + 4 * weight.rows) * use.gathered;
      continue;
    }
    int64_t product = count * element;
    if (auto few = nn::few_bits_of(weight))
      product = count * few->bits / 8 + int64_t{8} * few->groups * weight.rows;
    bytes.packed += product * use.product + count * element * use.transposed;
    if (!use.trained) {
      bytes.tables += 4 * count * (use.gathered || use.vector);
      continue;
    }
    bytes.master += 4 * count;
    bytes.gradients += 4 * count;
    bytes.moments += 8 * count;
  }
  nn::Batch batch = rows_of(plan, inputs, lengths);
  for (const nn::Op& op : plan.recording.ops) {
    if (op.kind != nn::Kind::linear || plan.recording.weights[op.weights[0]]->dtype() != nn::Dtype::i8)
      continue;
    const nn::TensorInfo& read = plan.recording.tensors[op.inputs[0]];
    bytes.quantized = std::max(bytes.quantized, int64_t{batch.rows(read.space).count} * (read.cols + 4));
  }
  nn::Layout layout;
  plan.assign(batch, layout);
  bytes.activations = static_cast<int64_t>(layout.bytes);
  return bytes;
}

int64_t flops(const nn::Plan& plan, const models::EncoderInputs& inputs, std::span<const int32_t> lengths) {
  return plan.flops(rows_of(plan, inputs, lengths));
}

}  // namespace textmill::tasks
