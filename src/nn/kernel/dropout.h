#pragma once

#include <cstdint>

namespace textmill::nn::kernel {

// Dropout without memory: whether an element is kept follows from a hash of (seed, site, row key, head, column), so the
// backward pass draws the same mask again, and a batch draws what its rows would draw alone. Hashing is two steps, the
// first once a row, the second once an element and cheap in vectors.

/// The part of the hash that a row shares.
struct DropoutRow {
  uint32_t low, high;
};

/// A bijective mix of 64 bits (the finalizer of SplitMix64, Steele et al. 2014).
inline uint64_t mix64(uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

/// `seed` of the run and step, `site` of the operation, `key` of the row; `head` only in attention (there the key is that
/// of the query row, and the column is the place of the attended row in its sequence).
inline DropoutRow dropout_row(uint64_t seed, uint32_t site, uint64_t key, uint32_t head = 0) {
  uint64_t place = uint64_t{head} << 32 | site;
  uint64_t hash = mix64(key + 0x9e3779b97f4a7c15u * mix64(place + 0x9e3779b97f4a7c15u * mix64(seed)));
  return {static_cast<uint32_t>(hash), static_cast<uint32_t>(hash >> 32)};
}

/// Two rounds of a 32-bit integer hash with low bias (constants by C. Wellons, 2018), keyed before each round. Its twin for
/// vectors is in math_impl.h.
inline uint32_t dropout_hash(DropoutRow row, uint32_t column) {
  uint32_t x = column + row.low;
  x = (x ^ x >> 16) * 0x7feb352du;
  x ^= row.high;
  x = (x ^ x >> 15) * 0x846ca68bu;
  return x ^ x >> 16;
}

/// An element is kept if its hash is at least `threshold`; what is kept is multiplied by `scale` = 1 / (1 - p).
struct DropoutRate {
  DropoutRate() = default;
  explicit DropoutRate(double p)
      : threshold(static_cast<uint32_t>(p * 4294967296.0)), scale(static_cast<float>(1 / (1 - p))) {}
  explicit operator bool() const { return threshold != 0; }
  bool keeps(DropoutRow row, uint32_t column) const { return dropout_hash(row, column) >= threshold; }
  uint32_t threshold = 0;
  float scale = 1;
};

}  // namespace textmill::nn::kernel
