#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace textmill::train {

/// splitmix64's output function (Steele, Lea and Flood 2014): a bijection that scatters.
constexpr uint64_t scatter(uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  return x ^ x >> 31;
}

/// A number that says who `b` of `a` is: the seed of an epoch, or of a step's dropout.
constexpr uint64_t derive(uint64_t a, uint64_t b) { return scatter(scatter(a + 0x9e3779b97f4a7c15) + b); }

/// The order of the rows in an epoch (from 0): Fisher and Yates's shuffle of 0..rows-1 from the last place down, where
/// place i swaps with (x · (i + 1)) >> 64, x being splitmix64's next number, started at derive(seed, epoch). It depends
/// on nothing else, so any epoch can be entered anywhere.
std::vector<uint32_t> epoch_order(uint64_t seed, int epoch, uint32_t rows);

/// Where a run stands: steps are counted over all epochs, and a step takes `rows_per_step` rows of its epoch's order,
/// the last one of an epoch what is left.
struct Steps {
  uint32_t rows = 0, rows_per_step = 1;
  int epochs = 1;

  int64_t per_epoch() const { return (int64_t{rows} + rows_per_step - 1) / rows_per_step; }
  int64_t total() const { return per_epoch() * epochs; }
  int epoch_of(int64_t step) const { return static_cast<int>(step / per_epoch()); }
  /// The part of `order` (of the step's epoch) that step `step` takes.
  std::span<const uint32_t> rows_of(int64_t step, std::span<const uint32_t> order) const;
};

}  // namespace textmill::train
