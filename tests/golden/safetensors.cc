// safetensors FROM TO [BYTES]: writes what it reads in FROM (a file or a folder of shards) to the file TO, or as a model's
// shards of BYTES to the folder TO.

#include <cstdio>
#include <string>

#include "base/error.h"
#include "nn/safetensors.h"

int main(int count, char** arguments) {
  using namespace textmill;
  if (count != 3 && count != 4) return 2;
  try {
    nn::Safetensors from(arguments[1]);
    std::vector<nn::TensorToWrite> tensors;
    for (const auto& [name, tensor] : from.tensors())
      tensors.push_back({name, tensor.dtype, tensor.shape, tensor.bytes});
    if (count == 4)
      nn::write_model(arguments[2], std::move(tensors), std::stoll(arguments[3]));
    else
      nn::write_safetensors(arguments[2], std::move(tensors));
    return 0;
  } catch (const base::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return base::exit_status(error.kind());
  }
}
