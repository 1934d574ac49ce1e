#include "nn/checkpoint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numbers>

#include "base/error.h"
#include "nn/dropout.h"

namespace textmill::nn {
namespace {

// Behind the name of a weight in 8 bits.
constexpr const char* kScales = "_scale";
constexpr const char* kInputScales = "_input_scale";
constexpr const char* kInputStep = "_input_step";

struct Found {
  std::string name;
  const StoredTensor* tensor = nullptr;
};

/// What a checkpoint may call it.
std::vector<std::string> names_of(const std::string& name, const std::string& prefix) {
  std::vector<std::string> names{name};
  if (!prefix.empty() && name.starts_with(prefix + ".")) names.push_back(name.substr(prefix.size() + 1));
  for (size_t i = 0, own = names.size(); i < own; i++) {
    for (auto [now, before] :
         {std::pair{"LayerNorm.weight", "LayerNorm.gamma"}, {"LayerNorm.bias", "LayerNorm.beta"}}) {
      if (!names[i].ends_with(now)) continue;
      names.push_back(names[i].substr(0, names[i].size() - std::strlen(now)) + before);
    }
  }
  return names;
}

Found find(const Safetensors& checkpoint, const std::string& name, const std::string& prefix) {
  for (const std::string& candidate : names_of(name, prefix)) {
    if (auto* tensor = checkpoint.find(candidate)) return {candidate, tensor};
  }
  return {};
}

/// A linear layer's weight in a layout of a quantized checkpoint; null if it is stored plainly.
std::shared_ptr<const Packed> find_packed(const Weight& weight, const Safetensors& checkpoint,
                                          const std::string& prefix, const PackedFormat& format) {
  if (weight.is_vector || weight.share.count != 1 || !weight.name.ends_with(".weight")) return nullptr;
  for (const std::string& name : names_of(weight.name, prefix)) {
    std::string layer = layer_of(name);
    auto part = [&](const std::string& suffix) {
      return checkpoint.find(fmt::format("{}.{}", layer, suffix));
    };
    auto found =
        Packed::load(format, weight.rows, weight.cols, part, checkpoint.path().string() + ": " + layer);
    if (found) return found;
  }
  return nullptr;
}

/// Rows of a share in the tensor that it is part of: calls copy(row of the share, row of the tensor). A
/// vector's elements are its rows.
template <class Copy>
void for_rows(const Weight& weight, Copy copy) {
  const Share& share = weight.share;
  int64_t rows = weight.is_vector ? weight.cols : weight.rows;
  int64_t block = share.count > 1 ? share.block : rows;
  for (int64_t row = 0; row < rows; row++)
    copy(row, (row / block * share.count + share.index) * block + row % block);
}

int64_t row_size(const Weight& weight) { return weight.is_vector ? 1 : weight.cols; }

/// `count` scales that belong to a weight in 8 bits; none if they are not there. Those above 0 are, else from 0 on.
std::span<const float> scales_of(const Safetensors& checkpoint, const std::string& name, int64_t count,
                                 bool above) {
  std::string where = checkpoint.path().string() + ": " + name;
  const StoredTensor* tensor = checkpoint.find(name);
  if (!tensor) return {};
  if (tensor->dtype != "F32" || tensor->shape != std::vector{count}) {
    throw base::Error(base::Kind::invalid, fmt::format("{} is {} [{}], expected F32 [{}]", where,
                                                       tensor->dtype, fmt::join(tensor->shape, ", "), count));
  }
  std::span values(reinterpret_cast<const float*>(tensor->bytes.data()), static_cast<size_t>(count));
  auto wrong = std::find_if(values.begin(), values.end(),
                            [&](float x) { return !(x >= 0 && x < HUGE_VALF) || (above && x == 0); });
  if (wrong != values.end()) {
    throw base::Error(base::Kind::invalid, fmt::format("{}[{}] is {}, expected a finite number {} 0{}", where,
                                                       wrong - values.begin(), *wrong,
                                                       above ? "above" : "from", above ? "" : " on"));
  }
  return values;
}

void take_8_bits(Weight& weight, const StoredTensor& tensor, const Safetensors& checkpoint,
                 const std::string& name) {
  auto scales = scales_of(checkpoint, name + kScales, weight.rows, false);
  if (scales.empty() || weight.share.count != 1) {
    throw base::Error(base::Kind::invalid, checkpoint.path().string() + ": " + name + kScales +
                                               ": missing, but the weight is in 8 bits");
  }
  auto step = scales_of(checkpoint, name + kInputStep, 1, true);
  weight.borrow(std::span(reinterpret_cast<const int8_t*>(tensor.bytes.data()), tensor.bytes.size()), scales,
                {scales_of(checkpoint, name + kInputScales, weight.cols, true), step.empty() ? 0 : step[0]});
}

void take(Weight& weight, const StoredTensor& tensor, Dtype dtype) {
  if (weight.share.count == 1) return weight.borrow(dtype, tensor.bytes);
  Weight whole(weight.shape()[0], row_size(weight));
  whole.name = weight.name;
  whole.borrow(dtype, tensor.bytes);
  std::span<float> values = weight.own();
  for_rows(weight, [&](int64_t row, int64_t from) { whole.read(from, 1, &values[row * row_size(weight)]); });
}

uint64_t hash(const std::string& name, uint64_t seed) {
  uint64_t state = mix64(seed + 1);
  for (unsigned char c : name) state = mix64(state * 257 + c + 1);
  return state;
}

/// Box and Muller's normal deviates, drawn again beyond 2 deviations.
double normal(uint64_t state, uint64_t index) {
  for (uint64_t attempt = 0;; attempt++) {
    uint64_t bits = mix64(state ^ mix64(index * 64 + attempt + 1));
    double radius = std::sqrt(-2 * std::log((static_cast<double>(bits >> 32) + 1) * 0x1p-32));
    double value = radius * std::cos(2 * std::numbers::pi * static_cast<double>(bits & 0xffffffff) * 0x1p-32);
    if (std::abs(value) <= 2) return value;
  }
}

}  // namespace

std::vector<Weight*> load_weights(std::span<Weight* const> weights, const Safetensors& checkpoint,
                                  const std::string& prefix, const std::optional<PackedFormat>& format) {
  std::vector<Weight*> missing;
  for (Weight* weight : weights) {
    if (auto packed = format ? find_packed(*weight, checkpoint, prefix, *format) : nullptr) {
      weight->borrow(std::move(packed));
      continue;
    }
    auto [stored, tensor] = find(checkpoint, weight->name, prefix);
    if (!tensor) {
      missing.push_back(weight);
      continue;
    }
    std::string where = checkpoint.path().string() + ": " + weight->name;
    if (tensor->shape != weight->shape()) {
      throw base::Error(base::Kind::invalid,
                        fmt::format("{} has the shape [{}], expected [{}]", where,
                                    fmt::join(tensor->shape, ", "), fmt::join(weight->shape(), ", ")));
    }
    Dtype dtype = tensor->weight_dtype(where);
    if (dtype == Dtype::i8) {
      take_8_bits(*weight, *tensor, checkpoint, stored);
    } else {
      take(*weight, *tensor, dtype);
    }
  }
  return missing;
}

void require_weights(std::span<Weight* const> missing, const Safetensors& checkpoint) {
  if (missing.empty()) return;
  std::vector<std::string> names;
  for (const Weight* weight : missing) names.push_back(weight->name);
  constexpr size_t kShown = 5;
  std::string more = names.size() > kShown ? fmt::format(" and {} more", names.size() - kShown) : "";
  names.resize(std::min(names.size(), kShown));
  throw base::Error(base::Kind::invalid, fmt::format("{}: no tensor {}{}", checkpoint.path().string(),
                                                     fmt::join(names, ", "), more));
}

void initialize_weights(std::span<Weight* const> weights, double deviation, uint64_t seed) {
  for (Weight* weight : weights) {
    std::span<float> values = weight->own();
    uint64_t state = hash(weight->name, seed);
    for (size_t i = 0; i < values.size(); i++) {
      values[i] = weight->is_vector ? 0 : static_cast<float>(deviation * normal(state, i));
    }
  }
}

namespace {

/// `joined` keeps the values of tensors that several weights share.
std::vector<TensorToWrite> tensors_of(std::span<Weight* const> weights,
                                      std::map<std::string, std::vector<float>>& joined) {
  std::vector<TensorToWrite> tensors;
  for (const Weight* weight : weights) {
    if (const Packed* packed = weight->packed()) {
      for (const auto& [part, tensor] : packed->parts())
        tensors.push_back({layer_of(weight->name) + "." + part, tensor.dtype, tensor.shape, tensor.bytes});
      continue;
    }
    if (weight->share.count == 1) {
      tensors.push_back({weight->name, name(weight->dtype()), weight->shape(), weight->bytes()});
      if (weight->dtype() == Dtype::i8) {
        tensors.push_back({weight->name + kScales, "F32", {weight->rows}, std::as_bytes(weight->scales())});
        const InputScales& input = weight->input();
        if (!input.columns.empty())
          tensors.push_back(
              {weight->name + kInputScales, "F32", {weight->cols}, std::as_bytes(input.columns)});
        if (input.step > 0)
          tensors.push_back(
              {weight->name + kInputStep, "F32", {1}, std::as_bytes(std::span(&input.step, 1))});
      }
      continue;
    }
    std::vector<float>& whole = joined[weight->name];
    if (whole.empty()) {
      whole.resize(weight->count() * weight->share.count);
      tensors.push_back({weight->name, "F32", weight->shape(), std::as_bytes(std::span(whole))});
    }
    std::vector<float> own(weight->count());
    weight->read(0, weight->rows, own.data());
    int64_t size = row_size(*weight);
    for_rows(*weight, [&](int64_t row, int64_t to) {
      std::copy_n(own.begin() + row * size, size, whole.begin() + to * size);
    });
  }
  return tensors;
}

}  // namespace

void save_weights(std::span<Weight* const> weights, const base::Path& file) {
  std::map<std::string, std::vector<float>> joined;
  write_safetensors(file, tensors_of(weights, joined));
}

void save_model(std::span<Weight* const> weights, const base::Path& folder, int64_t shard_bytes) {
  std::map<std::string, std::vector<float>> joined;
  write_model(folder, tensors_of(weights, joined), shard_bytes);
}

std::string layer_of(const std::string& weight) { return weight.substr(0, weight.rfind('.')); }

int64_t count_parameters(std::span<Weight* const> weights) {
  int64_t count = 0;
  for (const Weight* weight : weights) count += weight->count();
  return count;
}

}  // namespace textmill::nn
