#include "nn/kernel/kernels.h"

#include "base/error.h"

namespace textmill::nn::kernel {

const Kernels& kernels(Path path) {
  TEXTMILL_CHECK(supports(path));
#if defined(__x86_64__)
  if (path == Path::avx512_bf16) return kAvx512Kernels;
  if (path == Path::avx2) return kAvx2Kernels;
#endif
  return kPortableKernels;
}

}  // namespace textmill::nn::kernel
