#include "nn/kernel/attention.h"

#include "base/error.h"
#include "nn/kernel/kernels.h"
#include "nn/kernel/pool.h"

namespace textmill::nn::kernel {

size_t attention_scratch_bytes(const Kernels& kernels, Type type, int head_dim, int most_keys) {
  return kernels.of(type).attention.scratch_bytes(head_dim, most_keys);
}

void attend(Pool& pool, const Kernels& kernels, const Attention& attention, std::byte* scratch,
            size_t scratch_bytes) {
  const AttentionKernels& table = kernels.of(attention.type).attention;
  TEXTMILL_CHECK(scratch_bytes >= table.scratch_bytes(attention.head_dim, 0));
  int runs = static_cast<int>(attention.runs.size());
  pool.run(runs * attention.heads, [&](int task, int thread) {
    table.forward(attention, task / attention.heads, task % attention.heads,
                  scratch + thread * scratch_bytes);
  });
}

void attend_backward(Pool& pool, const Kernels& kernels, const Attention& attention,
                     const AttentionGradient& gradient, std::byte* scratch, size_t scratch_bytes) {
  const AttentionKernels& table = kernels.of(attention.type).attention;
  int sequences = static_cast<int>(attention.sequences.size()), heads = attention.kv_heads;
  if (gradient.d_bias == nullptr) {
    pool.run(sequences * heads, [&](int task, int thread) {
      table.backward(attention, gradient, task / heads, task % heads, scratch + thread * scratch_bytes);
    });
    return;
  }
  // All sequences add to a head's bias, in their order.
  pool.run(heads, [&](int head, int thread) {
    for (int sequence = 0; sequence < sequences; sequence++) {
      table.backward(attention, gradient, sequence, head, scratch + thread * scratch_bytes);
    }
  });
}

}  // namespace textmill::nn::kernel
