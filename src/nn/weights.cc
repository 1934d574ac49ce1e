#include "nn/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "nn/f16.h"
#include "nn/packed.h"

namespace textmill::nn {
namespace {

template <class Stored, class Widen>
void widen(const std::byte* from, int64_t count, float* out, Widen widen_one) {
  for (int64_t i = 0; i < count; i++) {
    Stored stored;
    std::memcpy(&stored, from + i * sizeof(Stored), sizeof(Stored));
    out[i] = widen_one(stored);
  }
}

}  // namespace

size_t bytes_of(Dtype dtype) {
  switch (dtype) {
    case Dtype::f32: return 4;
    case Dtype::f16:
    case Dtype::bf16: return 2;
    case Dtype::i8: return 1;
    case Dtype::packed: break;
  }
  return 0;
}

Weight Weight::vector(int64_t size) {
  Weight weight(1, size);
  weight.is_vector = true;
  return weight;
}

const char* name(Dtype dtype) {
  switch (dtype) {
    case Dtype::f32: return "F32";
    case Dtype::f16: return "F16";
    case Dtype::bf16: return "BF16";
    case Dtype::i8: return "I8";
    case Dtype::packed: break;
  }
  return "";
}

std::vector<int64_t> Weight::shape() const {
  if (is_vector) return {cols * share.count};
  return {rows * share.count, cols};
}

void Weight::borrow(Dtype dtype, std::span<const std::byte> bytes) {
  size_t expected = count() * bytes_of(dtype);
  if (bytes.size() != expected) {
    throw base::Error(base::Kind::invalid, fmt::format("weight {}: {} bytes given, [{}, {}] takes {}", name,
                                                       bytes.size(), rows, cols, expected));
  }
  release();
  dtype_ = dtype;
  bytes_ = bytes;
}

bool InputScales::operator==(const InputScales& other) const {
  return step == other.step && std::ranges::equal(columns, other.columns);
}

void Weight::borrow(std::span<const int8_t> values, std::span<const float> scales, const InputScales& input) {
  if (std::cmp_not_equal(scales.size(), rows)) {
    throw base::Error(base::Kind::invalid,
                      fmt::format("weight {}: {} scales given for {} rows", name, scales.size(), rows));
  }
  borrow(Dtype::i8, std::as_bytes(values));
  scales_ = scales;
  input_ = input;
}

void Weight::borrow(std::shared_ptr<const Packed> packed) {
  TEXTMILL_CHECK(packed->rows() == rows && packed->cols() == cols);
  release();
  packed_ = std::move(packed);
  dtype_ = Dtype::packed;
  bytes_ = packed_->parts()[0].tensor.bytes;
}

int64_t Weight::stored_bytes() const {
  return packed_ ? packed_->bytes()
                 : static_cast<int64_t>(bytes_.size() + scales_.size_bytes() + input_.columns.size_bytes());
}

std::span<float> Weight::own() {
  if (owned_.empty()) {
    std::vector<float> values(count());
    if (has_values()) read(0, rows, values.data());
    release();
    owned_ = std::move(values);
    dtype_ = Dtype::f32;
    bytes_ = std::as_bytes(std::span(owned_));
  }
  return owned_;
}

void Weight::release() {
  owned_ = {};
  bytes_ = {};
  scales_ = {};
  input_ = {};
  packed_ = nullptr;
}

void Weight::read(int64_t first, int64_t count, float* out) const {
  TEXTMILL_CHECK(has_values() && first >= 0 && count >= 0 && first + count <= rows);
  const std::byte* from = bytes_.data() + first * cols * bytes_of(dtype_);
  switch (dtype_) {
    case Dtype::f32: std::memcpy(out, from, count * cols * sizeof(float)); return;
    case Dtype::f16: return widen<uint16_t>(from, count * cols, out, widen_f16);
    case Dtype::bf16:
      return widen<uint16_t>(from, count * cols, out,
                             [](uint16_t half) { return std::bit_cast<float>(uint32_t{half} << 16); });
    case Dtype::i8:
      for (int64_t row = first; row < first + count; row++, from += cols, out += cols) {
        widen<int8_t>(from, cols, out,
                      [&](int8_t value) { return static_cast<float>(value) * scales_[row]; });
        for (size_t j = 0; j < input_.columns.size(); j++) out[j] /= input_.columns[j];
      }
      return;
    case Dtype::packed: return packed_->read(first, count, out);
  }
}

Linear::Linear(int64_t in, int64_t out, bool with_bias, Split split) : weight(out, in), split(split) {
  if (with_bias) bias = Weight::vector(out);
}

Norm::Norm(NormKind kind, int64_t size, double eps) : kind(kind), weight(Weight::vector(size)), eps(eps) {
  if (kind == NormKind::layer) bias = Weight::vector(size);
}

std::string Fields::join(const std::string& name) const {
  return prefix_.empty() ? name : prefix_ + "." + name;
}

void Fields::operator()(const std::string& name, Weight& weight) const {
  // Others may be reading the names, such as who writes moments beside the weights: the same ones stay where they are.
  if (std::string whole = join(name); weight.name != whole) weight.name = std::move(whole);
  list_->push_back(&weight);
}

void Fields::operator()(const std::string& name, Linear& linear) const {
  (*this)(name + ".weight", linear.weight);
  if (linear.bias) (*this)(name + ".bias", linear.bias);
  if (linear.adapter) {
    (*this)(name + ".lora_A.weight", linear.adapter->a);
    (*this)(name + ".lora_B.weight", linear.adapter->b);
  }
}

void Fields::operator()(const std::string& name, Norm& norm) const {
  (*this)(name + ".weight", norm.weight);
  if (norm.bias) (*this)(name + ".bias", norm.bias);
}

}  // namespace textmill::nn
