#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace textmill::base {

/// A sum that only grows.
class Counter {
 public:
  void add(double amount = 1) { value_.fetch_add(amount, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_ = 0;
};

/// A value that goes up and down.
class Gauge {
 public:
  void set(double value) { value_.store(value, std::memory_order_relaxed); }
  void add(double amount) { value_.fetch_add(amount, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_ = 0;
};

/// How often a value fell at or below each bound.
class Histogram {
 public:
  /// `bounds` ascending; the bucket above the last is implied.
  explicit Histogram(std::vector<double> bounds);
  void observe(double value);

  const std::vector<double>& bounds() const { return bounds_; }
  /// Observations per bucket (not cumulative), one more than there are bounds.
  std::vector<uint64_t> counts() const;
  double sum() const { return sum_.load(std::memory_order_relaxed); }

 private:
  const std::vector<double> bounds_;
  std::unique_ptr<std::atomic<uint64_t>[]> counts_;
  std::atomic<double> sum_ = 0;
};

/// Bounds for durations in seconds: 0.5 ms to 30 s.
std::vector<double> latency_bounds();

using Labels = std::map<std::string, std::string>;

/// All metrics of a process by name and labels. Look a metric up once and keep the reference (it stays valid
/// as long as the registry): the look-up takes a lock, using the metric does not.
class MetricRegistry {
 public:
  MetricRegistry();
  ~MetricRegistry();

  Counter& counter(std::string_view name, std::string_view help, const Labels& labels = {});
  Gauge& gauge(std::string_view name, std::string_view help, const Labels& labels = {});
  Histogram& histogram(std::string_view name, std::string_view help, const std::vector<double>& bounds,
                       const Labels& labels = {});

  /// The Prometheus text exposition format, version 0.0.4 (text/plain; version=0.0.4): names, then labels, in
  /// order.
  std::string text() const;

 private:
  struct Family;
  template <class Metric>
  Metric& find(std::string_view name, std::string_view help, const Labels& labels,
               const std::vector<double>& bounds);

  mutable std::mutex mutex_;
  std::map<std::string, Family, std::less<>> families_;
};

/// The registry of this process.
MetricRegistry& metrics();

}  // namespace textmill::base
