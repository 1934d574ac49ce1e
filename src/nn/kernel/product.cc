#include "nn/kernel/product.h"

#include <algorithm>

#include "base/error.h"
#include "nn/kernel/kernels.h"
#include "nn/kernel/pool.h"

namespace textmill::nn::kernel {
namespace {

constexpr int kMaxProducts = 8;             // of one phase
constexpr int64_t kBlockBytes = 384 << 10;  // of `a` that a core's second-level cache holds beside a panel
constexpr int kTasksPerThread = 8;          // enough that a displaced thread delays a phase by little
constexpr int64_t kTaskFlops = 4'000'000;   // below, handing out costs more than evenness brings
constexpr int kPackRows = 32;               // of one packing task

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

int64_t words(Type type, int64_t depth) { return ceil_div(depth * bytes_of(type), 4); }

int64_t words(const Product& p, int64_t depth) {
  return p.in_8_bits ? ceil_div(depth, 4) : words(p.type, depth);
}

int panels(const Kernels& kernels, int cols) { return ceil_div(cols, kernels.panel); }

/// How a product is cut: blocks of rows whose part of `a` stays in cache; in each, the panels; of each, pieces of rows.
struct Grid {
  int blocks, block_rows, panels, pieces, panels_per_task, groups;

  Grid(const Kernels& kernels, const Product& p, int threads) {
    int depth = 1;
    for (int t = 0; t < p.term_count; t++) depth = std::max(depth, p.terms[t].depth);
    int64_t rows_in_cache = std::max<int64_t>(kBlockBytes / (words(p, depth) * 4), kernels.tile_rows);
    blocks = ceil_div(p.rows, rows_in_cache);
    block_rows = ceil_div(ceil_div(p.rows, blocks), kernels.tile_rows) * kernels.tile_rows;
    blocks = ceil_div(p.rows, block_rows);
    panels = kernel::panels(kernels, p.cols);
    int64_t panel_flops = 2ll * block_rows * kernels.panel * depth,
            wanted = int64_t{threads} * kTasksPerThread;
    pieces =
        std::clamp<int64_t>(std::min(ceil_div(wanted, int64_t{blocks} * panels), panel_flops / kTaskFlops), 1,
                            block_rows / kernels.tile_rows);
    panels_per_task =
        std::clamp<int64_t>(std::min(kTaskFlops / panel_flops, int64_t{blocks} * panels / wanted), 1, panels);
    groups = ceil_div(panels, panels_per_task);
  }
  int tasks() const { return blocks * groups * pieces; }

  void run(const ProductKernels& kernels, const Product& p, int task, std::byte* scratch) const {
    int piece = task % pieces, group = task / pieces % groups, block = task / pieces / groups;
    int first = block * block_rows, rows = std::min(block_rows, p.rows - first);
    int begin = rows * piece / pieces, end = rows * (piece + 1) / pieces;
    int panel = group * panels_per_task;
    if (begin < end) {
      auto multiply = p.in_8_bits ? kernels.multiply_in_8_bits : kernels.multiply;
      multiply(p, first + begin, end - begin, panel, std::min(panels_per_task, panels - panel), scratch);
    }
  }
};

/// Which of several lists of tasks a task is in.
template <int n>
struct Lists {
  std::array<int, n + 1> begin = {};
  int count = 0;

  void add(int tasks) {
    TEXTMILL_CHECK(count < n);
    begin[count + 1] = begin[count] + tasks;
    count++;
  }
  int total() const { return begin[count]; }
  int list_of(int task) const {
    return std::upper_bound(begin.begin() + 1, begin.begin() + count, task) - begin.begin() - 1;
  }
};

/// Of one thread: a panel of the deepest weight in few bits.
size_t widened_bytes(const Kernels& kernels, std::span<const Product> products) {
  size_t bytes = 0;
  for (const Product& p : products) {
    for (int t = 0; t < p.term_count; t++) {
      if (p.terms[t].few_bits) bytes = std::max(bytes, packed_bytes(kernels, p.type, p.terms[t].depth, 1));
    }
  }
  return bytes;
}

}  // namespace

size_t multiply_bytes(const Pool& pool, const Kernels& kernels, std::span<const Product> products) {
  return pool.threads() * widened_bytes(kernels, products);
}

void multiply(Pool& pool, const Kernels& kernels, std::span<const Product> products, std::byte* scratch) {
  Lists<kMaxProducts> lists;
  size_t widened = widened_bytes(kernels, products);
  TEXTMILL_CHECK(widened == 0 || scratch != nullptr);
  for (const Product& p : products) {
    TEXTMILL_CHECK(p.rows == products[0].rows && p.term_count <= (p.in_8_bits ? 1 : Product::kMaxTerms));
    lists.add(p.rows == 0 || p.cols == 0 ? 0 : Grid(kernels, p, pool.threads()).tasks());
  }
  pool.run(lists.total(), [&](int task, int thread) {
    int i = lists.list_of(task);
    const Product& p = products[i];
    std::byte* widens = widened > 0 ? scratch + thread * widened : nullptr;
    Grid(kernels, p, pool.threads()).run(kernels.of(p.type).product, p, task - lists.begin[i], widens);
  });
}

size_t packed_bytes_in_8_bits(const Kernels& kernels, int64_t depth, int64_t cols) {
  return panels(kernels, cols) * ceil_div(depth, 4) * kernels.panel * 4;
}

void pack_in_8_bits(Pool& pool, const Kernels& kernels, const int8_t* w, int rows, int cols,
                    std::byte* packed) {
  pool.run(panels(kernels, rows),
           [&](int panel, int) { kernels.f32.product.pack_in_8_bits(w, rows, cols, panel, packed); });
}

size_t packed_bytes(const Kernels& kernels, Type type, int64_t depth, int64_t cols) {
  return panels(kernels, cols) * words(type, depth) * kernels.panel * 4;
}

void pack_transposed(Pool& pool, const Kernels& kernels, Type type, const float* w, int rows, int cols,
                     std::byte* packed) {
  pool.run(panels(kernels, rows),
           [&](int panel, int) { kernels.of(type).product.pack_transposed(w, rows, cols, panel, packed); });
}

void pack(Pool& pool, const Kernels& kernels, Type type, const float* w, int rows, int cols,
          std::byte* packed) {
  pool.run(ceil_div(rows, kPackRows), [&](int task, int) {
    int first = task * kPackRows;
    kernels.of(type).product.pack_weight(w, rows, cols, first, std::min(kPackRows, rows - first), packed);
  });
}

namespace {

/// Where the packed tensors of a phase of weight gradients lie.
struct GradientScratch {
  size_t bytes = 0;
  struct Place {
    size_t dy, x, sums;
    bool own_x;  // not the one before's
  };
  std::array<Place, kMaxProducts> places;
  int chunks;  // of rows

  GradientScratch(const Kernels& kernels, Type type, int rows, std::span<const WeightGradient> gradients)
      : chunks(ceil_div(rows, kPackRows)) {
    TEXTMILL_CHECK(gradients.size() <= places.size());
    for (size_t i = 0; i < gradients.size(); i++) {
      const WeightGradient& g = gradients[i];
      Place& place = places[i];
      place.own_x = i == 0 || g.x != gradients[i - 1].x;
      place.dy = take(packed_bytes(kernels, type, rows, g.out));
      place.x = place.own_x ? take(packed_bytes(kernels, type, rows, g.in)) : places[i - 1].x;
      place.sums = take(g.db != nullptr ? size_t{4} * chunks * g.out : 0);
    }
  }
  size_t take(size_t size) {
    size_t at = bytes;
    bytes += (size + 63) / 64 * 64;
    return at;
  }
};

void reduce_column_sums(const WeightGradient& g, const float* sums, int chunks, int first, int count) {
  for (int j = first; j < first + count; j++) {
    float sum = g.accumulate ? g.db[j] : 0;
    for (int chunk = 0; chunk < chunks; chunk++) sum += sums[int64_t{chunk} * g.out + j];
    g.db[j] = sum;
  }
}

}  // namespace

size_t weight_gradient_bytes(const Kernels& kernels, Type type, int rows,
                             std::span<const WeightGradient> gradients) {
  return GradientScratch(kernels, type, rows, gradients).bytes;
}

void weight_gradients(Pool& pool, const Kernels& kernels, Type type, int rows,
                      std::span<const WeightGradient> gradients, std::byte* scratch) {
  const ProductKernels& table = kernels.of(type).product;
  GradientScratch layout(kernels, type, rows, gradients);
  Lists<2 * kMaxProducts> packs;
  Lists<kMaxProducts> products;
  int64_t pair_flops = 2ll * kernels.panel * kernels.panel * std::max(rows, 1);
  int panels_per_task = std::max<int64_t>(kTaskFlops / pair_flops, 1);
  auto groups = [&](const WeightGradient& g) {
    return static_cast<int>(ceil_div(panels(kernels, g.in), panels_per_task));
  };
  for (size_t i = 0; i < gradients.size(); i++) {
    packs.add(layout.chunks);
    packs.add(layout.places[i].own_x ? layout.chunks : 0);
    products.add(panels(kernels, gradients[i].out) * groups(gradients[i]));
  }
  pool.run(packs.total(), [&](int task, int) {
    int list = packs.list_of(task), chunk = task - packs.begin[list], first = chunk * kPackRows;
    int count = std::min(kPackRows, rows - first);
    const WeightGradient& g = gradients[list / 2];
    const auto& place = layout.places[list / 2];
    if (list % 2 == 0) {
      float* sums =
          g.db == nullptr ? nullptr : reinterpret_cast<float*>(scratch + place.sums) + int64_t{chunk} * g.out;
      table.pack_activations(g.dy, rows, g.out, first, count, scratch + place.dy, sums);
    } else {
      table.pack_activations(g.x, rows, g.in, first, count, scratch + place.x, nullptr);
    }
  });
  pool.run(products.total(), [&](int task, int) {
    int i = products.list_of(task), local = task - products.begin[i];
    const WeightGradient& g = gradients[i];
    const auto& place = layout.places[i];
    int panel_out = local / groups(g), panel_in = local % groups(g) * panels_per_task;
    table.weight_gradient({.dy = scratch + place.dy,
                           .x = scratch + place.x,
                           .words = static_cast<int>(words(type, rows)),
                           .out = g.out,
                           .in = g.in,
                           .dw = g.dw,
                           .accumulate = g.accumulate},
                          panel_out, panel_in, std::min(panels_per_task, panels(kernels, g.in) - panel_in));
    if (panel_in == 0 && g.db != nullptr) {
      int first = panel_out * kernels.panel;
      reduce_column_sums(g, reinterpret_cast<const float*>(scratch + place.sums), layout.chunks, first,
                         std::min(kernels.panel, g.out - first));
    }
  });
}

}  // namespace textmill::nn::kernel
