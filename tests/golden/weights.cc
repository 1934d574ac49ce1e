// weights ALGORITHM FILE BITS GROUP LAYOUT OUT IN: a linear layer's weight [OUT, IN] in few bits, as FILE.out: its tensors as
// "layer.*", and what they mean as "read". ALGORITHM is round, gptq or awq, of FILE's "w" with inputs "x" [rows, IN]; or
// read, of FILE's own "layer.*". Or it is range0 to range3 (nn::Range): prints input_range of "x".

#include <cstdio>
#include <string>

#include "base/error.h"
#include "nn/calibrate.h"
#include "nn/grouped.h"
#include "nn/kernel/pool.h"

namespace textmill {
namespace {

constexpr std::pair<const char*, nn::PackedLayout> kLayouts[] = {{"awq", nn::PackedLayout::awq},
                                                                 {"gptq", nn::PackedLayout::gptq},
                                                                 {"gptq_v2", nn::PackedLayout::gptq_v2},
                                                                 {"bnb_4bit", nn::PackedLayout::bnb_4bit},
                                                                 {"bnb_8bit", nn::PackedLayout::bnb_8bit}};

std::shared_ptr<const nn::Packed> packed(const std::string& algorithm, const nn::Safetensors& file,
                                         const nn::PackedFormat& format, int64_t rows, int64_t cols) {
  if (algorithm == "read") {
    return nn::Packed::load(
        format, rows, cols, [&](const std::string& part) { return file.find("layer." + part); }, "layer");
  }
  nn::Weight w(rows, cols);
  w.name = "w";
  w.borrow(nn::Dtype::f32, file.find("w")->bytes);
  const nn::StoredTensor& x = *file.find("x");
  std::span<const float> inputs(reinterpret_cast<const float*>(x.bytes.data()), size_t(x.count()));
  nn::kernel::Pool pool(2);
  auto found = algorithm == "gptq"  ? nn::gptq(w, inputs, format.bits, format.group, pool)
               : algorithm == "awq" ? nn::awq(w, inputs, format.bits, format.group, pool)
                                    : nn::round_to_groups(w, format.bits, format.group);
  return nn::Packed::pack(found, format, "layer");
}

int run(char** argv) {
  std::string algorithm = argv[1], layout = argv[5];
  nn::PackedFormat format{.bits = std::stoi(argv[3]), .group = std::stoi(argv[4])};
  for (auto [name, value] : kLayouts) format.layout = layout == name ? value : format.layout;
  int64_t rows = std::stoll(argv[6]), cols = std::stoll(argv[7]);
  nn::Safetensors file{base::Path(argv[2])};
  if (algorithm.starts_with("range")) {
    const nn::StoredTensor& x = *file.find("x");
    std::span<const float> values(reinterpret_cast<const float*>(x.bytes.data()), size_t(x.count()));
    std::printf("%.9g\n", nn::input_range(values, static_cast<nn::Range>(algorithm.back() - '0')));
    return 0;
  }
  auto matrix = packed(algorithm, file, format, rows, cols);
  if (!matrix) throw base::Error(base::Kind::invalid, "no such layer");
  std::vector<float> read(rows * cols);
  matrix->read(0, rows, read.data());
  std::vector<nn::TensorToWrite> tensors{{"read", "F32", {rows, cols}, std::as_bytes(std::span(read))}};
  for (const auto& [name, tensor] : matrix->parts())
    tensors.push_back({"layer." + name, tensor.dtype, tensor.shape, tensor.bytes});
  nn::write_safetensors(std::string(argv[2]) + ".out", std::move(tensors));
  return 0;
}

}  // namespace
}  // namespace textmill

int main(int argc, char** argv) {
  try {
    if (argc != 8) throw textmill::base::Error(textmill::base::Kind::invalid, "seven arguments");
    return textmill::run(argv);
  } catch (const textmill::base::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return textmill::base::exit_status(error.kind());
  }
}
