// Every layout that is read: whatever the tensors hold, a matrix is read whole or refused. The first bytes choose the layout
// and the shape, the rest fill its tensors.

#include <cstdlib>
#include <map>

#include "base/error.h"
#include "nn/packed.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace textmill;
  if (size < 6) return 0;
  nn::PackedFormat format{static_cast<nn::PackedLayout>(data[0] % 5), data[1] % 8 + 1, data[2]};
  int64_t rows = data[3] % 64 + 1, cols = data[4] % 128 + 1,
          groups = format.group ? (cols + format.group - 1) / format.group : 1;
  bool nested = data[5] & 1, in_4 = format.layout == nn::PackedLayout::bnb_4bit;
  data += 6, size -= 6;
  std::map<std::string, std::vector<std::byte>> bytes;
  std::map<std::string, nn::StoredTensor> tensors;
  auto add = [&](const char* name, const char* dtype, std::vector<int64_t> shape, int64_t element) {
    int64_t count = element;
    for (int64_t n : shape) count *= n;
    auto given = std::as_bytes(std::span(data, std::min(size, size_t(count))));
    data += given.size(), size -= given.size();
    auto& own = bytes[name];
    own.assign(given.begin(), given.end());
    own.resize(count);
    tensors[name] = {dtype, std::move(shape), own};
  };
  if (in_4) {
    std::string state(reinterpret_cast<const char*>(data), size);
    state.resize(std::min(size, size_t{200}));
    if (size_t end = state.find('}'); end != std::string::npos) state.resize(end + 1);
    add("weight.quant_state.bitsandbytes__nf4", "U8", {std::ssize(state)}, 1);
    int64_t blocks = (rows * cols + 63) / 64;
    add("weight", "U8", {(rows * cols + 1) / 2, 1}, 1);
    add("weight.quant_map", "F32", {16}, 4);
    add("weight.absmax", nested ? "U8" : "F32", {blocks}, nested ? 1 : 4);
    if (nested) {
      add("weight.nested_absmax", "F32", {(blocks + 255) / 256}, 4);
      add("weight.nested_quant_map", "F32", {256}, 4);
    }
  } else if (format.layout == nn::PackedLayout::bnb_8bit) {
    add("weight", "I8", {rows, cols}, 1);
    add("SCB", "F32", {rows}, 4);
  } else {
    int64_t words = rows * format.bits / 32;
    bool awq = format.layout == nn::PackedLayout::awq;
    if (!awq) add("g_idx", "I32", {cols}, 4);
    add("qweight", "I32", awq ? std::vector{cols, words} : std::vector{cols * format.bits / 32, rows}, 4);
    add("qzeros", "I32", {groups, words}, 4);
    add("scales", "F16", {groups, rows}, 2);
    if (nested) add("column_scale", "F32", {cols}, 4);
  }
  auto find = [&](const std::string& name) {
    auto found = tensors.find(name);
    return found == tensors.end() ? nullptr : &found->second;
  };
  try {
    auto packed = nn::Packed::load(format, rows, cols, find, "layer");
    if (!packed) std::abort();
    std::vector<float> values(rows * cols);
    packed->read(0, rows, values.data());
    if (packed->bytes() <= 0) std::abort();
  } catch (const base::Error& error) {
    if (error.kind() != base::Kind::invalid) std::abort();
  }
  return 0;
}
