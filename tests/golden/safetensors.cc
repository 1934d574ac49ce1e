// safetensors FROM TO: writes what it reads in FROM (a file or a folder of shards) to the file TO.

#include <cstdio>

#include "base/error.h"
#include "nn/safetensors.h"

int main(int count, char** arguments) {
  using namespace textmill;
  if (count != 3) return 2;
  try {
    nn::Safetensors from(arguments[1]);
    std::vector<nn::TensorToWrite> tensors;
    for (const auto& [name, tensor] : from.tensors())
      tensors.push_back({name, tensor.dtype, tensor.shape, tensor.bytes});
    nn::write_safetensors(arguments[2], std::move(tensors));
    return 0;
  } catch (const base::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return base::exit_status(error.kind());
  }
}
