#include "nn/kernel/path_headers.h"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(                                                              \
        __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma"))), \
            apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")
#endif

#include "nn/kernel/path_impl.h"
#include "nn/kernel/simd_avx512.h"

namespace textmill::nn::kernel {

constinit const Kernels kAvx512VnniKernels = kernels_of<Avx512<false>>(Path::avx512_vnni);

}  // namespace textmill::nn::kernel

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
