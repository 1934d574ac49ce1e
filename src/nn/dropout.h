#pragma once

#include <cstdint>

namespace textmill::nn {

// Dropout remembers nothing: whether an element is dropped is a hash of the batch's seed, the operation's
// site, the row's key, a part of the row (the head, in attention) and the column. So forward, backward and
// recomputation agree, and a sequence drops the same elements in whatever batch it comes.

/// One row's state: computed once a row, then mixed with each column in 32 bits, as a vector unit likes it.
struct DropoutRow {
  uint32_t a, b;
};

inline uint64_t mix64(uint64_t x) {  // the finalizer of splitmix64 (Steele et al. 2014)
  x += 0x9e3779b97f4a7c15;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  return x ^ x >> 31;
}

inline DropoutRow dropout_row(uint64_t seed, uint32_t site, uint64_t key, uint32_t part = 0) {
  uint64_t state = mix64(mix64(mix64(seed) ^ (uint64_t{part} << 32 | site)) ^ key);
  return {static_cast<uint32_t>(state), static_cast<uint32_t>(state >> 32)};
}

inline uint32_t dropout_hash(DropoutRow row,
                             uint32_t column) {  // lowbias32 (Wellons) between two words of the row
  uint32_t x = column * 0x9e3779b9u + row.a;
  x = (x ^ x >> 16) * 0x7feb352du;
  x = (x ^ row.b ^ x >> 15) * 0x846ca68bu;
  return x ^ x >> 16;
}

/// Elements whose hash is below are dropped; the others are multiplied by 1 / (1 - p).
inline uint32_t dropout_threshold(double p) { return static_cast<uint32_t>(p * 0x1p32); }

}  // namespace textmill::nn
