#include "nn/kernel/cpu_features.h"

#include <fmt/format.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace textmill::nn::kernel {
namespace {

#if defined(__x86_64__)
// The compilers' run-time support has no name for it (Intel SDM, CPUID leaf 7, subleaf 1).
bool has_avx_vnni() {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 4 & 1) != 0;
}
#endif

constexpr Path kPaths[] = {Path::avx512_bf16, Path::avx512_vnni, Path::avx_vnni, Path::avx2, Path::portable};

}  // namespace

const char* name(Path path) {
  switch (path) {
    case Path::avx512_bf16: return "avx512-bf16";
    case Path::avx512_vnni: return "avx512-vnni";
    case Path::avx_vnni: return "avx-vnni";
    case Path::avx2: return "avx2";
    case Path::portable: return "portable";
  }
  return "";
}

bool supports(Path path) {
#if defined(__x86_64__)
  // The compiler's run-time support asks the operating system too (XGETBV).
  switch (path) {
    case Path::avx512_bf16: return supports(Path::avx512_vnni) && __builtin_cpu_supports("avx512bf16");
    case Path::avx512_vnni:
      return supports(Path::avx2) && __builtin_cpu_supports("avx512f") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
    case Path::avx_vnni: return supports(Path::avx2) && has_avx_vnni();
    case Path::avx2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case Path::portable: return true;
  }
#endif
  return path == Path::portable;
}

std::span<const Path> supported_paths() {
  static const std::vector<Path> paths = [] {
    std::vector<Path> found;
    for (Path path : kPaths) {
      if (supports(path)) found.push_back(path);
    }
    return found;
  }();
  return paths;
}

Path choose_path() {
  const char* forced = std::getenv("TEXTMILL_CPU");
  if (forced == nullptr || *forced == '\0') return supported_paths().front();
  std::string available;
  for (Path path : supported_paths()) {
    if (std::string_view(forced) == name(path)) return path;
    available += fmt::format("{}{}", available.empty() ? "" : ", ", name(path));
  }
  for (Path path : kPaths) {
    if (std::string_view(forced) == name(path)) {
      throw base::Error(base::Kind::invalid,
                        fmt::format("TEXTMILL_CPU={}: this machine lacks it; it has {}", forced, available));
    }
  }
  const char* wrong =
      std::string_view(forced) == "amx" ? "products by AMX tiles are not built" : "no such path";
  throw base::Error(base::Kind::invalid,
                    fmt::format("TEXTMILL_CPU={}: {}; this machine has {}", forced, wrong, available));
}

}  // namespace textmill::nn::kernel
