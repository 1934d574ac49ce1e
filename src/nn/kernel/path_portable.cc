#include "nn/kernel/path_impl.h"
#include "nn/kernel/simd_portable.h"

namespace textmill::nn::kernel {

constinit const Kernels kPortableKernels = kernels_of<Portable>(Path::portable);

}  // namespace textmill::nn::kernel
