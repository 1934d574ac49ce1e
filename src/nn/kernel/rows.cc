#include "nn/kernel/rows.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "nn/kernel/bf16.h"
#include "nn/kernel/kernels.h"
#include "nn/kernel/pool.h"

namespace textmill::nn::kernel {
namespace {

// What one task works off. Fixed: sums are taken part by part, and must not depend on the number of threads.
constexpr int kRows = 16;
constexpr int kOwnRows = 4;  // where each row stands for itself: a short sequence is work for several threads
constexpr int kColumns = 64;
constexpr int64_t kElements = 1 << 14;

/// Calls body(part, first, count) for each part of `total`.
template <class Body>
void in_parts(Pool& pool, int64_t total, int64_t size, const Body& body) {
  pool.run(static_cast<int>((total + size - 1) / size), [&](int part, int) {
    int64_t first = part * size;
    body(part, static_cast<int>(first), static_cast<int>(std::min(size, total - first)));
  });
}

const RowKernels& rows_of(const Kernels& kernels, Type type) { return kernels.of(type).rows; }

}  // namespace

void mix(Pool& pool, const Kernels& kernels, const Mix& m) {
  in_parts(pool, m.rows, kRows,
           [&](int, int first, int rows) { rows_of(kernels, m.type).mix(m, first, rows); });
}

double dot(Pool& pool, const Kernels& kernels, Type type, int rows, int cols, const void* x, const void* y,
           const int32_t* mask, std::byte* scratch) {
  auto* sums = reinterpret_cast<double*>(scratch);
  in_parts(pool, rows, kRows, [&](int part, int first, int count) {
    sums[part] = rows_of(kernels, type).dot(x, y, mask, cols, first, count);
  });
  return std::accumulate(sums, sums + (rows + kRows - 1) / kRows, 0.0);
}

size_t dot_bytes(int rows) { return (rows + kRows - 1) / kRows * sizeof(double); }

void norm(Pool& pool, const Kernels& kernels, const Norm& n) {
  in_parts(pool, n.rows, kOwnRows,
           [&](int, int first, int rows) { rows_of(kernels, n.type).norm(n, first, rows); });
}

void quantize(Pool& pool, const Kernels& kernels, Type type, int rows, int cols, const void* x,
              const InputScaling& scaling, QuantizedRows out) {
  in_parts(pool, rows, kOwnRows, [&](int, int first, int count) {
    rows_of(kernels, type).quantize(x, cols, first, count, scaling, out);
  });
}

size_t norm_backward_bytes(int rows, int size) {
  return static_cast<size_t>((rows + kRows - 1) / kRows) * 2 * size * sizeof(float);
}

void norm_backward(Pool& pool, const Kernels& kernels, const NormBackward& b, std::byte* scratch) {
  int size = b.norm.size, parts = (b.norm.rows + kRows - 1) / kRows;
  auto* sums = reinterpret_cast<float*>(scratch);
  in_parts(pool, b.norm.rows, kRows, [&](int part, int first, int rows) {
    rows_of(kernels, b.norm.type).norm_backward(b, first, rows, sums + int64_t{part} * 2 * size);
  });
  if (!b.d_scale && !b.d_bias) return;
  in_parts(pool, 2 * size, kColumns, [&](int, int first, int count) {
    for (int j = first; j < first + count; j++) {
      float* gradient = j < size ? b.d_scale : b.d_bias;
      if (!gradient) continue;
      float sum = 0;
      for (int part = 0; part < parts; part++) sum += sums[int64_t{part} * 2 * size + j];
      gradient[j % size] += sum;
    }
  });
}

void activate(Pool& pool, const Kernels& kernels, const Activate& a) {
  in_parts(pool, a.rows, kRows,
           [&](int, int first, int rows) { rows_of(kernels, a.type).activate(a, first, rows); });
}

void activate_backward(Pool& pool, const Kernels& kernels, const ActivateBackward& b) {
  in_parts(pool, b.forward.rows, kRows, [&](int, int first, int rows) {
    rows_of(kernels, b.forward.type).activate_backward(b, first, rows);
  });
}

void embed(Pool& pool, const Kernels& kernels, const Embed& e) {
  in_parts(pool, e.rows, kRows,
           [&](int, int first, int rows) { rows_of(kernels, e.type).embed(e, first, rows); });
}

void embed_backward(Pool& pool, const Kernels& kernels, const Embed& e, const void* dy) {
  in_parts(pool, e.cols, kColumns,
           [&](int, int first, int count) { rows_of(kernels, e.type).embed_backward(e, dy, first, count); });
}

void gather(Pool& pool, Type type, int rows, int cols, const void* x, const int32_t* index, void* y) {
  size_t bytes = cols * bytes_of(type);
  in_parts(pool, rows, kRows, [&](int, int first, int count) {
    for (int r = first; r < first + count; r++) {
      std::memcpy(static_cast<std::byte*>(y) + r * bytes, static_cast<const std::byte*>(x) + index[r] * bytes,
                  bytes);
    }
  });
}

void scatter(Pool& pool, const Kernels& kernels, Type type, int rows, int cols, const void* y,
             const int32_t* index, int x_rows, void* x, bool accumulate) {
  size_t bytes = bytes_of(type);
  if (!accumulate) {
    in_parts(pool, x_rows, kRows, [&](int, int first, int count) {
      std::memset(static_cast<std::byte*>(x) + first * cols * bytes, 0, count * cols * bytes);
    });
  }
  in_parts(pool, cols, kColumns, [&](int, int first, int count) {
    rows_of(kernels, type).scatter(y, index, rows, cols, x, first, count);
  });
}

void mean(Pool& pool, const Kernels& kernels, Type type, int cols, std::span<const int32_t> begin,
          const void* x, void* y) {
  size_t bytes = cols * bytes_of(type);
  pool.run(static_cast<int>(begin.size()) - 1, [&](int s, int) {
    rows_of(kernels, type).mean(x, cols, begin[s], begin[s + 1], static_cast<std::byte*>(y) + s * bytes);
  });
}

void mean_backward(Pool& pool, const Kernels& kernels, Type type, int cols, std::span<const int32_t> begin,
                   const void* dy, void* dx, bool accumulate) {
  size_t bytes = cols * bytes_of(type);
  pool.run(static_cast<int>(begin.size()) - 1, [&](int s, int) {
    rows_of(kernels, type)
        .mean_backward(static_cast<const std::byte*>(dy) + s * bytes, cols, begin[s], begin[s + 1], dx,
                       accumulate);
  });
}

namespace {

template <class T>
void rotate_row(int cols, int head_dim, int pairs, const float* angles, const T* x, T* y, bool accumulate) {
  auto put = [&](int j, float value) { y[j] = narrow<T>(accumulate ? widen(y[j]) + value : value); };
  for (int head = 0; head < cols; head += head_dim) {
    for (int j = head; j < head + pairs; j++) {
      float a = widen(x[j]), b = widen(x[j + pairs]), cosine = angles[2 * (j - head)],
            sine = angles[2 * (j - head) + 1];
      put(j, a * cosine - b * sine);
      put(j + pairs, b * cosine + a * sine);
    }
    for (int j = head + 2 * pairs; j < head + head_dim; j++) put(j, widen(x[j]));
  }
}

/// Calls body with a value of the type.
template <class Body>
void with_type(Type type, const Body& body) {
  if (type == Type::f32) {
    body(float());
  } else {
    body(bf16());
  }
}

}  // namespace

void rotate(Pool& pool, Type type, int rows, int cols, int head_dim, int pairs, const float* angles,
            const void* x, void* y, bool accumulate) {
  with_type(type, [&]<class T>(T) {
    in_parts(pool, rows, kRows, [&](int, int first, int count) {
      for (int64_t r = first; r < first + count; r++) {
        rotate_row(cols, head_dim, pairs, angles + r * pairs * 2, static_cast<const T*>(x) + r * cols,
                   static_cast<T*>(y) + r * cols, accumulate);
      }
    });
  });
}

void sum_rows(Pool& pool, Type type, int rows, int cols, const void* x, float* sums) {
  with_type(type, [&]<class T>(T) {
    in_parts(pool, cols, kColumns, [&](int, int first, int count) {
      for (int64_t r = 0; r < rows; r++) {
        for (int j = first; j < first + count; j++) sums[j] += widen(static_cast<const T*>(x)[r * cols + j]);
      }
    });
  });
}

void cross_entropy(Pool& pool, const Kernels& kernels, const CrossEntropy& c) {
  in_parts(pool, c.rows, kRows,
           [&](int, int first, int rows) { rows_of(kernels, c.type).cross_entropy(c, first, rows); });
}

void cross_entropy_backward(Pool& pool, const Kernels& kernels, const CrossEntropy& c, void* d_logits,
                            bool accumulate) {
  in_parts(pool, c.rows, kRows, [&](int, int first, int rows) {
    rows_of(kernels, c.type).cross_entropy_backward(c, d_logits, accumulate, first, rows);
  });
}

void convert(Pool& pool, const Kernels& kernels, const void* x, Type from, void* y, Type to, int64_t count) {
  pool.run(static_cast<int>((count + kElements - 1) / kElements), [&](int part, int) {
    int64_t first = part * kElements;
    int size = static_cast<int>(std::min(kElements, count - first));
    const std::byte* source = static_cast<const std::byte*>(x) + first * bytes_of(from);
    std::byte* target = static_cast<std::byte*>(y) + first * bytes_of(to);
    if (from == Type::f32) {
      rows_of(kernels, to).narrow(reinterpret_cast<const float*>(source), target, size);
    } else {
      TEXTMILL_CHECK(to == Type::f32);
      rows_of(kernels, from).widen(source, reinterpret_cast<float*>(target), size);
    }
  });
}

}  // namespace textmill::nn::kernel
