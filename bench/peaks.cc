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

#include "peak_loops.h"

namespace {

using namespace peaks;
using Clock = std::chrono::steady_clock;
std::vector<int64_t> memory(64 << 20 >> 3, 1);  // 64 MB a thread would not fit twice into any cache here

[[gnu::target("avx512f"), gnu::noinline]] float read_memory() {
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
