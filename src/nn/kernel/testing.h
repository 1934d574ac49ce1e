#pragma once

// What the tests of kernels share: rows of either type, random numbers, naive activations, a test per path.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "nn/kernel/bf16.h"
#include "nn/kernel/kernels.h"

namespace textmill::nn::kernel {

/// Uniform in [-1, 1), from a seed.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(mix64(seed + 1)) {}
  float operator()() {
    state_ += 0x9e3779b97f4a7c15u;
    return static_cast<float>(static_cast<int64_t>(mix64(state_)) >> 40) * 0x1p-23f;
  }
  int below(int count) { return static_cast<int>(((*this)() + 1) / 2 * static_cast<float>(count)); }

 private:
  uint64_t state_;
};

template <class T>
struct AlignedAllocator {
  using value_type = T;
  AlignedAllocator() = default;
  template <class U>
  explicit AlignedAllocator(const AlignedAllocator<U>&) {}
  T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(64))); }
  void deallocate(T* p, size_t) { ::operator delete(p, std::align_val_t(64)); }
  bool operator==(const AlignedAllocator&) const { return true; }
};
template <class T>
using Aligned = std::vector<T, AlignedAllocator<T>>;

/// [rows, cols] of either type, on the heap without slack, so that a sanitizer sees a read beyond the end.
class Rows {
 public:
  Rows() = default;
  Rows(Type type, int rows, int cols)
      : type_(type), rows_(rows), cols_(cols), bytes_(bytes_of(type) * rows * cols) {}
  Rows(Type type, int rows, int cols, Random& random) : Rows(type, rows, cols) {
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < cols; j++) set(i, j, random());
    }
  }
  int rows() const { return rows_; }
  int cols() const { return cols_; }
  size_t bytes() const { return bytes_.size(); }
  void* data() { return bytes_.data(); }
  const void* data() const { return bytes_.data(); }
  float* f32() { return reinterpret_cast<float*>(bytes_.data()); }
  const float* f32() const { return reinterpret_cast<const float*>(bytes_.data()); }
  float at(int row, int col) const {
    int64_t i = int64_t{row} * cols_ + col;
    return type_ == Type::f32 ? f32()[i] : widen(reinterpret_cast<const bf16*>(bytes_.data())[i]);
  }
  void set(int row, int col, float x) {
    int64_t i = int64_t{row} * cols_ + col;
    if (type_ == Type::f32) {
      f32()[i] = x;
    } else {
      reinterpret_cast<bf16*>(bytes_.data())[i] = to_bf16(x);
    }
  }
  Rows as(Type type) const {
    Rows out(type, rows_, cols_);
    for (int i = 0; i < rows_; i++) {
      for (int j = 0; j < cols_; j++) out.set(i, j, at(i, j));
    }
    return out;
  }
  bool operator==(const Rows&) const = default;

 private:
  Type type_ = Type::f32;
  int rows_ = 0, cols_ = 0;
  Aligned<std::byte> bytes_;
};

inline double naive_activation(Activation activation, double x, double* slope) {
  double unused;
  if (slope == nullptr) slope = &unused;
  switch (activation) {
    case Activation::gelu: {
      double below = 0.5 * std::erfc(-x / std::sqrt(2.0));
      *slope = below + x * std::exp(-x * x / 2) / std::sqrt(2 * M_PI);
      return x * below;
    }
    case Activation::gelu_tanh: {
      double c = std::sqrt(2 / M_PI), t = std::tanh(c * (x + 0.044715 * x * x * x));
      *slope = 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x);
      return 0.5 * x * (1 + t);
    }
    case Activation::relu: return *slope = x > 0, std::max(x, 0.0);
    case Activation::silu: {
      double gate = 1 / (1 + std::exp(-x));
      *slope = gate * (1 + x * (1 - gate));
      return x * gate;
    }
    case Activation::tanh: {
      double t = std::tanh(x);
      *slope = 1 - t * t;
      return t;
    }
    case Activation::none: break;
  }
  *slope = 1;
  return x;
}

/// A test that is run on each path of this machine.
class PathTest : public testing::TestWithParam<Path> {
 protected:
  const Kernels& kernels() const { return kernel::kernels(GetParam()); }
};

inline std::string path_name(const testing::TestParamInfo<Path>& info) {
  std::string label = name(info.param);
  for (char& c : label) c = c == '-' ? '_' : c;
  return label;
}

}  // namespace textmill::nn::kernel
