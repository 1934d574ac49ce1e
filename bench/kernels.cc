// Times the kernels of the CPU engine alone: bench_kernels [THREADS] [FILTER]. One line a case: GFLOP/s of the best and of
// the median run; then the best by processor time (that clock stands still while others have the core), also as a share of
// the machine's peak, measured in the same way just before.
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>
#include <string>
#include <vector>

#include "nn/kernel/bf16.h"
#include "nn/kernel/kernels.h"
#include "nn/kernel/pool.h"
#include "peak_loops.h"

namespace textmill::nn::kernel {
namespace {

double now(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

/// Memory that lives to the end of the program, filled with numbers around 0.
std::byte* memory(Type type, int64_t count) {
  static std::vector<std::byte*> kept;
  auto* p = static_cast<std::byte*>(::operator new(count* bytes_of(type) + 64, std::align_val_t(64)));
  kept.push_back(p);
  for (int64_t i = 0; i < count; i++) {
    float x = static_cast<float>(nn::mix64(i) >> 40) * 0x1p-23f - 1;
    if (type == Type::f32) {
      std::memcpy(p + 4 * i, &x, 4);
    } else {
      bf16 narrowed = to_bf16(x);
      std::memcpy(p + 2 * i, &narrowed, 2);
    }
  }
  return p;
}

class Bench {
 public:
  Bench(int threads, std::string filter)
      : pool(threads), kernels(kernel::kernels(choose_path())), filter_(std::move(filter)) {}

  /// `work` in units of 1e9 (operations or bytes) a run.
  bool wants(const std::string& name) const { return name.find(filter_) != std::string::npos; }

  void time(Type type, const std::string& name, double work, const std::function<void()>& body) {
    if (wants(name))
      time(name, work, peak_of(type == Type::f32 ? peaks::multiply_add : peaks::dot_bf16), body);
  }
  void time_in_8_bits(const std::string& name, double work, const std::function<void()>& body) {
    if (wants(name)) time(name, work, peak_of(peaks::dot_int8), body);
  }

  Pool pool;
  const Kernels& kernels;

 private:
  void time(const std::string& name, double work, double peak, const std::function<void()>& body) {
    body();
    std::vector<double> seconds, busy;
    for (double end = now(CLOCK_MONOTONIC) + 0.2; now(CLOCK_MONOTONIC) < end || seconds.size() < 5;) {
      double start = now(CLOCK_MONOTONIC), start_busy = now(CLOCK_PROCESS_CPUTIME_ID);
      body();
      seconds.push_back(now(CLOCK_MONOTONIC) - start);
      busy.push_back(now(CLOCK_PROCESS_CPUTIME_ID) - start_busy);
    }
    std::sort(seconds.begin(), seconds.end());
    std::sort(busy.begin(), busy.end());
    double median = seconds[seconds.size() / 2], rate = work / busy.front();
    fmt::print("{:44} best {:6.1f}  median {:6.1f} G/s {:9.1f} us  cpu {:6.1f}", name, work / seconds.front(),
               work / median, median * 1e6, rate);
    if (peak > 0) fmt::print(" = {:5.1f} %", 100 * rate / peak);
    fmt::print("\n");
    std::fflush(stdout);
  }

  /// Of one core, in G operations a second; 0 on paths whose peak is not measured.
  double peak_of(float (*loop)()) const {
    if (kernels.path != Path::avx512_bf16) return 0;
    int operations = loop == peaks::dot_int8 ? 128 : loop == peaks::dot_bf16 ? 64 : 32;  // of an instruction
    double best = 0, work = 1e-9 * peaks::kSteps * peaks::kChains * operations;
    for (int round = 0; round < 20; round++) {
      double start = now(CLOCK_PROCESS_CPUTIME_ID);
      volatile float keep = loop();
      (void)keep;
      best = std::max(best, work / (now(CLOCK_PROCESS_CPUTIME_ID) - start));
    }
    return best;
  }

  std::string filter_;
};

const char* name(Type type) { return type == Type::f32 ? "f32" : "bf16"; }

void products(Bench& bench, Type type, int rows, int in, int out) {
  std::string label = fmt::format("{} {}x{}x{}", name(type), rows, in, out);
  double work = 2e-9 * rows * in * out;
  bool wanted = false;
  for (const char* kind : {"forward ", "forward gelu ", "forward gelu slope ", "forward residual ",
                           "input gradient ", "weight gradient ", "pack "}) {
    wanted = wanted || bench.wants(kind + label);
  }
  if (!wanted) return;
  auto* w = reinterpret_cast<float*>(memory(Type::f32, int64_t{in} * out));
  // As many copies of the weights as a model has layers, so that they come from where they would come.
  int copies = 1 + static_cast<int>((24 << 20) / (int64_t{in} * out * bytes_of(type)));
  size_t bytes = packed_bytes(bench.kernels, type, in, out),
         bytes_back = packed_bytes(bench.kernels, type, out, in);
  std::byte *packed = memory(Type::f32, copies * bytes / 4),
            *packed_back = memory(Type::f32, copies * bytes_back / 4);
  for (int i = 0; i < copies; i++) {
    pack_transposed(bench.pool, bench.kernels, type, w, out, in, packed + i * bytes);
    pack(bench.pool, bench.kernels, type, w, out, in, packed_back + i * bytes_back);
  }
  std::byte *x = memory(type, int64_t{rows} * in), *y = memory(type, int64_t{rows} * out);
  std::byte *slope = memory(type, int64_t{rows} * out), *residual = memory(type, int64_t{rows} * out);
  std::byte *dy = memory(type, int64_t{rows} * out), *dx = memory(type, int64_t{rows} * in);
  auto* bias = reinterpret_cast<float*>(memory(Type::f32, out));
  int turn = 0;
  Product forward{
      .type = type, .out_type = type, .rows = rows, .cols = out, .term_count = 1, .bias = bias, .out = y};
  auto run = [&](Product product, std::byte* b, size_t size, std::byte* a, int depth) {
    product.terms[0] = {a, b + size * (turn++ % copies), depth};
    multiply(bench.pool, bench.kernels, {&product, 1});
  };
  bench.time(type, "forward " + label, work, [&] { run(forward, packed, bytes, x, in); });
  Product activated = forward;
  activated.activation = Activation::gelu;
  bench.time(type, "forward gelu " + label, work, [&] { run(activated, packed, bytes, x, in); });
  activated.slope = slope;
  bench.time(type, "forward gelu slope " + label, work, [&] { run(activated, packed, bytes, x, in); });
  Product added = forward;
  added.residual = residual;
  bench.time(type, "forward residual " + label, work, [&] { run(added, packed, bytes, x, in); });
  Product back{.type = type, .out_type = type, .rows = rows, .cols = in, .term_count = 1, .out = dx};
  bench.time(type, "input gradient " + label, work, [&] { run(back, packed_back, bytes_back, dy, out); });
  auto *dw = reinterpret_cast<float*>(memory(Type::f32, int64_t{in} * out)),
       *db = reinterpret_cast<float*>(memory(Type::f32, out));
  WeightGradient gradient{dy, x, out, in, dw, db, false};
  std::byte* scratch =
      memory(Type::f32, weight_gradient_bytes(bench.kernels, type, rows, {&gradient, 1}) / 4);
  bench.time(type, "weight gradient " + label, work, [&] {
    weight_gradients(bench.pool, bench.kernels, type, rows, {&gradient, 1}, scratch);
  });
  bench.time(type, "pack " + label, 4e-9 * in * out, [&] {
    pack_transposed(bench.pool, bench.kernels, type, w, out, in, packed);
    pack(bench.pool, bench.kernels, type, w, out, in, packed_back);
  });
}

void products_in_8_bits(Bench& bench, int rows, int in, int out) {
  std::string label = fmt::format("int8 {}x{}x{}", rows, in, out);
  if (!bench.wants("forward " + label)) return;
  size_t bytes = packed_bytes_in_8_bits(bench.kernels, in, out);
  int copies = 1 + static_cast<int>((24 << 20) / (int64_t{in} * out));
  std::byte *packed = memory(Type::f32, copies * bytes / 4),
            *x = memory(Type::f32, int64_t{rows} * in / 4 + 1), *y = memory(Type::bf16, int64_t{rows} * out);
  auto* scales = reinterpret_cast<float*>(memory(Type::f32, std::max(rows, out)));
  auto* starts = reinterpret_cast<int32_t*>(memory(Type::f32, out));
  Product product{.type = Type::bf16,
                  .out_type = Type::bf16,
                  .rows = rows,
                  .cols = out,
                  .term_count = 1,
                  .in_8_bits = {scales, scales, starts},
                  .out = y};
  int turn = 0;
  bench.time_in_8_bits("forward " + label, 2e-9 * rows * in * out, [&] {
    product.terms[0] = {x, packed + bytes * (turn++ % copies), in};
    multiply(bench.pool, bench.kernels, {&product, 1});
  });
  auto* values = reinterpret_cast<uint8_t*>(memory(Type::f32, int64_t{rows} * in / 4 + 1));
  std::byte* floats = memory(Type::bf16, int64_t{rows} * in);
  bench.time(Type::bf16, "quantize " + label, 3e-9 * rows * in, [&] {
    quantize(bench.pool, bench.kernels, Type::bf16, rows, in, floats, {}, {values, scales});
  });
}

/// Beside `forward` of the same type and shape, which reads the widened weight.
void products_in_few_bits(Bench& bench, Type type, int bits, int rows, int in, int out) {
  std::string label = fmt::format("forward w{} {} {}x{}x{}", bits, name(type), rows, in, out);
  if (!bench.wants(label)) return;
  FewBitsShape shape{.rows = out, .cols = in, .bits = bits, .groups = in / 128};
  std::vector<uint8_t> codes(int64_t{in} * out);
  for (size_t i = 0; i < codes.size(); i++) codes[i] = nn::mix64(i) >> (64 - bits);
  std::vector<float> scales(int64_t{out} * shape.groups, 0.01F), zeros(scales.size(), 8);
  std::vector<int32_t> group_of(in);
  for (int i = 0; i < in; i++) group_of[i] = i / 128;
  size_t bytes = few_bits_bytes(bench.kernels, shape);
  int copies = 1 + static_cast<int>((24 << 20) / bytes);
  std::vector<FewBits> weights;
  for (int i = 0; i < copies; i++) {
    std::byte* data = memory(Type::f32, bytes / 4);
    pack_few_bits(bench.pool, bench.kernels,
                  {shape, codes.data(), scales.data(), zeros.data(), group_of.data()}, data);
    weights.push_back(few_bits_at(bench.kernels, shape, data));
  }
  Product product{.type = type, .out_type = type, .rows = rows, .cols = out, .term_count = 1};
  product.terms[0] = {memory(type, int64_t{rows} * in), nullptr, in, weights.data()};
  product.out = memory(type, int64_t{rows} * out);
  std::byte* scratch = memory(Type::f32, multiply_bytes(bench.pool, bench.kernels, {&product, 1}) / 4);
  int turn = 0;
  bench.time(type, label, 2e-9 * rows * in * out, [&] {
    product.terms[0].few_bits = &weights[turn++ % copies];
    multiply(bench.pool, bench.kernels, {&product, 1}, scratch);
  });
}

void attentions(Bench& bench, Type type, std::vector<int> lengths, int heads, int head_dim, double dropout) {
  int rows = 0, most = 0;
  double work = 0;
  std::vector<QueryRun> runs;
  std::vector<int32_t> first_run;
  std::vector<int> firsts;
  for (int length : lengths) {
    first_run.push_back(static_cast<int32_t>(runs.size()));
    for (int done = 0; done < length; done += Attention::kMaxRun) {
      runs.push_back(
          {rows + done, std::min(Attention::kMaxRun, length - done), static_cast<int>(firsts.size())});
    }
    firsts.push_back(rows);
    rows += length;
    most = std::max(most, length);
    work += 4e-9 * length * length * heads * head_dim;
  }
  first_run.push_back(static_cast<int32_t>(runs.size()));
  std::string label = fmt::format("{} {} rows of {}..{}, {} heads of {}{}", name(type), rows, lengths.front(),
                                  most, heads, head_dim, dropout > 0 ? ", dropout" : "");
  if (!bench.wants("attend " + label) && !bench.wants("attend back " + label)) return;
  int64_t cols = int64_t{heads} * head_dim;
  auto tensor = [&] { return memory(type, rows * cols); };
  std::byte *q = tensor(), *k = tensor(), *v = tensor(), *out = tensor(), *d_out = tensor(), *dq = tensor(),
            *dk = tensor(), *dv = tensor();
  std::vector<KeyRows> sequences;
  for (size_t i = 0; i < lengths.size(); i++) {
    size_t at = firsts[i] * cols * bytes_of(type);
    sequences.push_back({k + at, v + at, lengths[i], firsts[i]});
  }
  std::vector<uint64_t> keys(rows);
  for (int i = 0; i < rows; i++) keys[i] = nn::mix64(i);
  Attention attention{.type = type,
                      .heads = heads,
                      .kv_heads = heads,
                      .head_dim = head_dim,
                      .scale = 0.1f,
                      .runs = runs,
                      .first_run = first_run,
                      .sequences = sequences,
                      .queries = q,
                      .out = out,
                      .log_sums = reinterpret_cast<float*>(memory(Type::f32, int64_t{rows} * heads))};
  if (dropout > 0) attention.dropout = {DropoutRate(dropout), 1, 2, keys.data()};
  size_t each = attention_scratch_bytes(bench.kernels, type, head_dim, most);
  std::byte* scratch = memory(Type::f32, each * bench.pool.threads() / 4);
  bench.time(type, "attend " + label, work,
             [&] { attend(bench.pool, bench.kernels, attention, scratch, each); });
  AttentionGradient gradient{.d_out = d_out, .d_queries = dq, .d_keys = dk, .d_values = dv};
  bench.time(type, "attend back " + label, 2.5 * work,
             [&] { attend_backward(bench.pool, bench.kernels, attention, gradient, scratch, each); });
}

}  // namespace
}  // namespace textmill::nn::kernel

int main(int argc, char** argv) {
  using namespace textmill::nn::kernel;
  Bench bench(argc > 1 ? std::atoi(argv[1]) : 2, argc > 2 ? argv[2] : "");
  fmt::print("path {}, {} threads\n", name(bench.kernels.path), bench.pool.threads());
  std::vector<int> batch;  // 32 sentences of MRPC's lengths
  for (int i = 0; i < 32; i++) batch.push_back(30 + i * 3 / 2);
  for (Type type : {Type::bf16, Type::f32}) {
    attentions(bench, type, batch, 12, 32, 0);
    attentions(bench, type, batch, 12, 32, 0.1);
    attentions(bench, type, batch, 12, 64, 0.1);
    for (int length : {16, 128, 512}) attentions(bench, type, {length}, 12, 64, 0);
    for (auto [in, out] : {std::pair{384, 384}, {384, 1536}, {1536, 384}})
      for (int rows : {512, 1700}) products(bench, type, rows, in, out);
    for (int rows : {1, 16, 128, 512, 1700}) {
      for (auto [in, out] : {std::pair{768, 768}, {768, 3072}, {3072, 768}})
        products(bench, type, rows, in, out);
    }
    for (int rows : {1, 16, 128}) {
      for (int bits : {4, 8}) products_in_few_bits(bench, type, bits, rows, 768, 3072);
    }
    products(bench, type, 512, 1024, 1024);  // rows as far apart as a page
  }
  for (int rows : {1, 16, 64, 128, 512}) {
    for (auto [in, out] : {std::pair{768, 768}, {768, 3072}, {3072, 768}, {384, 1536}})
      products_in_8_bits(bench, rows, in, out);
  }
}
