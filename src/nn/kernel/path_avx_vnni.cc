#include "nn/kernel/path_headers.h"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,avxvnni"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,avxvnni")
#endif

#include "nn/kernel/path_impl.h"
#include "nn/kernel/simd_avx2.h"

namespace textmill::nn::kernel {

constinit const Kernels kAvxVnniKernels = kernels_of<Avx2<true>>(Path::avx_vnni);

}  // namespace textmill::nn::kernel

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
