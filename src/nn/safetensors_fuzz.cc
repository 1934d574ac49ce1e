// Views that a header gives lie within the file, one after the other, and hold what shape and dtype say.

#include <cstdlib>

#include "base/error.h"
#include "nn/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace textmill;
  auto file = std::as_bytes(std::span(data, size));
  try {
    size_t total = 0;
    for (const auto& [name, tensor] : nn::parse_safetensors(file, "input")) {
      total += tensor.bytes.size();
      int64_t count = 1;
      for (int64_t n : tensor.shape) count *= n;
      if (count != tensor.count()) std::abort();
      if (!tensor.bytes.empty() && (tensor.bytes.data() < file.data() ||
                                    tensor.bytes.data() + tensor.bytes.size() > file.data() + size)) {
        std::abort();
      }
    }
    if (total > size) std::abort();
  } catch (const base::Error& error) {
    if (error.kind() != base::Kind::invalid) std::abort();
  }
  return 0;
}
