// The machine's own peaks, measured: f32 multiply-add, bf16 and int8 dot products (512-bit registers), memory reads.
// Every benchmark table prints them, so that a figure can be read as a share of what the machine can do.
//
//   bench_peaks [THREADS]     one JSON object: GFLOP/s, GOP/s and GB/s on 1 and on THREADS threads

#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kChains = 12;  // enough independent accumulators to cover the latency of two ports
constexpr int kSteps = 20'000;

#define WIDE [[gnu::target("avx512f,avx512bw,avx512vl,avx512vnni,avx512bf16,fma"), gnu::noinline]]

WIDE float multiply_add() {
  __m512 c[kChains], a = _mm512_set1_ps(1e-9F), b = _mm512_set1_ps(1.0F);
  for (auto& x : c) x = a;
  for (int i = 0; i < kSteps; i++)
#pragma GCC unroll 12
    for (auto& x : c) x = _mm512_fmadd_ps(a, b, x);
  for (int i = 1; i < kChains; i++) c[0] = _mm512_add_ps(c[0], c[i]);
  return _mm512_reduce_add_ps(c[0]);
}

WIDE float dot_bf16() {
  __m512 c[kChains];
  auto a = __m512bh(_mm512_set1_epi16(0x3f80)), b = a;
  for (auto& x : c) x = _mm512_setzero_ps();
  for (int i = 0; i < kSteps; i++)
#pragma GCC unroll 12
    for (auto& x : c) x = _mm512_dpbf16_ps(x, a, b);
  for (int i = 1; i < kChains; i++) c[0] = _mm512_add_ps(c[0], c[i]);
  return _mm512_reduce_add_ps(c[0]);
}

WIDE float dot_int8() {
  __m512i c[kChains], a = _mm512_set1_epi8(1), b = a;
  for (auto& x : c) x = _mm512_setzero_si512();
  for (int i = 0; i < kSteps; i++)
#pragma GCC unroll 12
    for (auto& x : c) x = _mm512_dpbusd_epi32(x, a, b);
  for (int i = 1; i < kChains; i++) c[0] = _mm512_add_epi32(c[0], c[i]);
  return float(_mm512_reduce_add_epi32(c[0]));
}

std::vector<int64_t> memory(64 << 20 >> 3, 1);  // 64 MB a thread would not fit twice into any cache here

WIDE float read_memory() {
  __m512i c[4] = {};
  for (size_t i = 0; i < memory.size(); i += 32)
    for (int k = 0; k < 4; k++)
      c[k] = _mm512_add_epi64(c[k], _mm512_loadu_si512(memory.data() + i + size_t(k) * 8));
  return float(
      _mm512_reduce_add_epi64(_mm512_add_epi64(_mm512_add_epi64(c[0], c[1]), _mm512_add_epi64(c[2], c[3]))));
}

volatile float sink;

// The best of some rounds, in `work` per second over all threads, in units of 1e9.
double rate(float (*kernel)(), double work, int threads) {
  double best = 0;
  for (int round = 0; round < 12; round++) {
    auto begin = Clock::now();
    {
      std::vector<std::jthread> all;
      for (int t = 0; t < threads; t++)
        all.emplace_back([&] {
          for (int i = 0; i < 8; i++) sink = kernel();
        });
    }
    best =
        std::max(best, 8e-9 * work * threads / std::chrono::duration<double>(Clock::now() - begin).count());
  }
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  int threads = argc > 1 ? std::atoi(argv[1]) : int(std::thread::hardware_concurrency());
  struct Peak {
    const char* name;
    float (*kernel)();
    double work;
    bool runs;
  };
  const double steps = double(kSteps) * kChains;
  const Peak peaks[] = {
      {"f32_gflops", multiply_add, steps * 32, __builtin_cpu_supports("avx512f") != 0},
      {"bf16_gflops", dot_bf16, steps * 64, __builtin_cpu_supports("avx512bf16") != 0},
      {"int8_gops", dot_int8, steps * 128, __builtin_cpu_supports("avx512vnni") != 0},
      {"read_gbps", read_memory, double(memory.size()) * 8, __builtin_cpu_supports("avx512f") != 0}};
  std::printf("{\"threads\": %d", threads);
  for (const auto& peak : peaks)
    if (peak.runs)
      std::printf(", \"%s\": [%.1f, %.1f]", peak.name, rate(peak.kernel, peak.work, 1),
                  rate(peak.kernel, peak.work, threads));
  std::printf("}\n");
}
