#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace textmill::store {

/// What is kept of the values that a metric had within a time: count, sum, extremes, and the values themselves, exact
/// while they are few and then within 1 %. A sum that was given without its values has no percentiles.
class Distribution {
 public:
  Distribution() = default;
  static Distribution of(double value, double weight = 1) {
    return of_sum(weight, value * weight, value, value);
  }
  /// A sum whose values nobody knows, unless all must be the same.
  static Distribution of_sum(double count, double sum, double minimum, double maximum);
  static Distribution decode(double count, double sum, double minimum, double maximum,
                             std::string_view values);

  void merge(const Distribution& other);

  double count() const { return count_; }
  double sum() const { return sum_; }
  double minimum() const { return minimum_; }
  double maximum() const { return maximum_; }
  double average() const { return sum_ / count_; }

  /// The value below which `share` (0 to 1) of the known values lie, between neighbours by interpolation; nothing when
  /// none is known.
  std::optional<double> percentile(double share) const;
  /// Count and sum of the known values between two shares: trimmed means.
  std::pair<double, double> between(double low_share, double high_share) const;
  /// Count and sum of the known values in (low, high].
  std::pair<double, double> within(double low, double high) const;
  double known() const;

  std::string encode_values() const;

 private:
  struct Known {
    double value, weight;
  };
  void compress();

  double count_ = 0, sum_ = 0, minimum_ = 0, maximum_ = 0;
  std::vector<Known> known_;  // by value
};

}  // namespace textmill::store
