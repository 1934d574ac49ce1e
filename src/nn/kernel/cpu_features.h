#pragma once

#include <span>

namespace textmill::nn::kernel {

/// The instruction sets that the kernels are written for. Each is a table of functions, see kernels.h.
enum class Path { avx512_bf16, avx512_vnni, avx_vnni, avx2, portable };

/// "avx512-bf16", "avx512-vnni", "avx-vnni", "avx2", "portable".
const char* name(Path path);

/// Whether this machine, and its operating system, can run it.
bool supports(Path path);

/// The paths that this machine has, best first. `portable` is always among them.
std::span<const Path> supported_paths();

/// The best path, or the one that the environment variable TEXTMILL_CPU names. Throws invalid if that is no path, or one
/// that this machine lacks; the message lists what it has.
Path choose_path();

}  // namespace textmill::nn::kernel
