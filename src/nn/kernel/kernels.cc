#include "nn/kernel/kernels.h"

#include "base/error.h"

namespace textmill::nn::kernel {

const Kernels& kernels(Path path) {
  TEXTMILL_CHECK(supports(path));
#if defined(__x86_64__)
  switch (path) {
    case Path::avx512_bf16: return kAvx512Bf16Kernels;
    case Path::avx512_vnni: return kAvx512VnniKernels;
    case Path::avx_vnni: return kAvxVnniKernels;
    case Path::avx2: return kAvx2Kernels;
    case Path::portable: break;
  }
#endif
  return kPortableKernels;
}

}  // namespace textmill::nn::kernel
