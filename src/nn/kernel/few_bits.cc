#include "nn/kernel/few_bits.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "nn/kernel/kernels.h"
#include "nn/kernel/pool.h"

namespace textmill::nn::kernel {
namespace {

constexpr int64_t kLine = 64;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t lines(int64_t bytes) { return ceil_div(bytes, kLine) * kLine; }

/// Where what lies, from the beginning.
struct Layout {
  int64_t divisors, panels, codes_at, panel_bytes, end;

  Layout(const Kernels& kernels, const FewBitsShape& s) {
    divisors = lines(int64_t{s.cols} * 4);
    panels = divisors + (s.divided ? lines(int64_t{s.cols} * 4) : 0);
    codes_at = lines(int64_t{s.groups} * 2 * kernels.panel * 4);
    panel_bytes = codes_at + lines(ceil_div(s.cols, 8 / s.bits) * kernels.panel);
    end = panels + ceil_div(s.rows, kernels.panel) * panel_bytes;
  }
};

/// Rows [first, first + count) of w as columns of a panel; those beyond are zeros of scale 0.
void pack_panel(const FewBitsWeight& w, int first, int count, int panel, int64_t codes_at, std::byte* out) {
  const FewBitsShape& s = w.shape;
  auto* numbers = reinterpret_cast<float*>(out);
  std::fill_n(numbers, int64_t{s.groups} * 2 * panel, 0.0F);
  for (int row = 0; row < count; row++) {
    for (int64_t group = 0; group < s.groups; group++) {
      int64_t from = int64_t{first + row} * s.groups + group;
      numbers[group * 2 * panel + row] = w.scales[from];
      numbers[(group * 2 + 1) * panel + row] = 0x1p23F + w.zeros[from];
    }
  }
  auto* codes = reinterpret_cast<uint8_t*>(out + codes_at);
  int per_byte = 8 / s.bits;
  std::memset(codes, 0, ceil_div(s.cols, per_byte) * panel);
  for (int row = 0; row < count; row++) {
    const uint8_t* from = w.codes + int64_t{first + row} * s.cols;
    for (int64_t col = 0; col < s.cols; col++) {
      codes[col / per_byte * panel + row] |= static_cast<uint8_t>(from[col] << s.bits * (col % per_byte));
    }
  }
}

}  // namespace

size_t few_bits_bytes(const Kernels& kernels, const FewBitsShape& shape) {
  return Layout(kernels, shape).end;
}

FewBits few_bits_at(const Kernels& kernels, const FewBitsShape& shape, const std::byte* data) {
  Layout at(kernels, shape);
  return {.depth = shape.cols,
          .bits = shape.bits,
          .group_of = reinterpret_cast<const int32_t*>(data),
          .divisors = shape.divided ? reinterpret_cast<const float*>(data + at.divisors) : nullptr,
          .panels = data + at.panels,
          .panel_bytes = at.panel_bytes,
          .codes_at = at.codes_at};
}

void pack_few_bits(Pool& pool, const Kernels& kernels, const FewBitsWeight& weight, std::byte* data) {
  const FewBitsShape& s = weight.shape;
  TEXTMILL_CHECK((s.bits == 4 || s.bits == 8) && s.divided == (weight.divisors != nullptr));
  Layout at(kernels, s);
  std::copy_n(weight.group_of, s.cols, reinterpret_cast<int32_t*>(data));
  if (s.divided) std::copy_n(weight.divisors, s.cols, reinterpret_cast<float*>(data + at.divisors));
  pool.run(static_cast<int>(ceil_div(s.rows, kernels.panel)), [&](int panel, int) {
    int first = panel * kernels.panel;
    pack_panel(weight, first, std::min(kernels.panel, s.rows - first), kernels.panel, at.codes_at,
               data + at.panels + panel * at.panel_bytes);
  });
}

}  // namespace textmill::nn::kernel
