#pragma once

#include "nn/kernel/attention_backward_impl.h"
#include "nn/kernel/kernels.h"
#include "nn/kernel/product_impl.h"
#include "nn/kernel/rows_impl.h"

namespace textmill::nn::kernel {

template <class S, class T>
size_t attention_scratch(int head_dim, int most_keys) {
  return std::max(AttentionForward<S, T>::scratch_bytes(head_dim),
                  AttentionBackward<S, T>::scratch_bytes(head_dim, most_keys));
}

template <class S, class T>
constexpr TypedKernels typed_kernels() {
  return {.product = ProductOf<S, T>::kTable,
          .rows = RowsOf<S, T>::kTable,
          .attention = {attention_scratch<S, T>, AttentionForward<S, T>::run, AttentionBackward<S, T>::run}};
}

template <class S>
constexpr Kernels kernels_of(Path path) {
  return {.path = path,
          .tile_rows = S::tile_rows,
          .panel = S::tile_vectors * S::width,
          .f32 = typed_kernels<S, float>(),
          .bf16 = typed_kernels<S, bf16>(),
          .optimizer = OptimizerOf<S>::kTable};
}

}  // namespace textmill::nn::kernel
