// Our own layout of 8 bits: whatever lies beside a weight of type I8, the weight is read whole, in finite numbers, or refused.
// The first bytes say which scales are there and of what type and shape, the rest fill the tensors.

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>

#include "base/error.h"
#include "nn/checkpoint.h"

namespace {

using namespace textmill;

/// A safetensors file of tensors that take their bytes from `data`, then zeros.
class File {
 public:
  File(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  void add(const char* name, bool whole, std::vector<int64_t> shape) {
    // Numbers of the wrong type are as likely as a wrong shape.
    size_t bytes = whole ? 1 : 4;
    for (int64_t n : shape) bytes *= static_cast<size_t>(n);
    header_ += fmt::format(R"({}"layer.weight{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                           header_.empty() ? "" : ",", name, whole ? "I8" : "F32", fmt::join(shape, ","),
                           body_.size(), body_.size() + bytes);
    size_t given = std::min(size_, bytes);
    body_.append(reinterpret_cast<const char*>(data_), given).append(bytes - given, '\0');
    data_ += given, size_ -= given;
  }

  std::string text() const {
    std::string header = "{" + header_ + "}";
    uint64_t length = header.size();
    return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + body_;
  }

 private:
  const uint8_t* data_;
  size_t size_;
  std::string header_, body_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static base::TemporaryFolder folder("checkpoint_fuzz");
  static const int file = [] {
    int fd = ::memfd_create("input", 0);
    std::filesystem::create_symlink(fmt::format("/proc/self/fd/{}", fd), folder.path() / "model.safetensors");
    return fd;
  }();
  if (size < 5) return 0;
  const int64_t rows = data[0] % 16 + 1, cols = data[1] % 64 + 1;
  const uint8_t there = data[2], of_bytes = data[3], odd = data[4];
  File made(data + 5, size - 5);
  made.add("", true, {rows, cols});
  const std::pair<const char*, int64_t> scales[] = {
      {"_scale", rows}, {"_input_scale", cols}, {"_input_step", 1}};
  for (int i = 0; i < 3; i++)
    if (there >> i & 1) made.add(scales[i].first, of_bytes >> i & 1, {scales[i].second + (odd >> i & 1)});
  const std::string text = made.text();
  if (::ftruncate(file, 0) != 0 || ::pwrite(file, text.data(), text.size(), 0) < 0) std::abort();
  try {
    nn::Safetensors checkpoint(folder.path() / "model.safetensors");
    nn::Weight weight(rows, cols);
    weight.name = "layer.weight";
    nn::Weight* const weights[] = {&weight};
    if (!nn::load_weights(weights, checkpoint, "").empty()) std::abort();
    std::vector<float> values(static_cast<size_t>(rows * cols));
    weight.read(0, rows, values.data());
    for (float value : values)
      if (std::isnan(value)) std::abort();
    for (float column : weight.input().columns)
      if (!(column > 0 && std::isfinite(column))) std::abort();
    if (!(weight.input().step >= 0 && std::isfinite(weight.input().step))) std::abort();
  } catch (const base::Error& error) {
    if (error.kind() != base::Kind::invalid) std::abort();
  }
  return 0;
}
