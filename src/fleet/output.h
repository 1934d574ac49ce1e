#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fleet/task.h"

namespace textmill::fleet {

/// The metric definitions of a job, compiled.
class Metrics {
 public:
  /// Throws invalid naming a pattern that RE2 does not take.
  explicit Metrics(const std::vector<MetricDefinition>& definitions);
  Metrics(Metrics&&) noexcept;
  ~Metrics();

  /// Calls for each definition that finds a number in the line: its first group, or what matched where there is none.
  void find(std::string_view line, const std::function<void(const std::string&, double)>& found) const;

 private:
  struct Pattern;
  std::vector<Pattern> patterns_;
};

/// A program's output as lines: valid UTF-8, none longer than kLongest bytes (a longer one comes in pieces).
class Lines {
 public:
  static constexpr size_t kLongest = 64 << 10;

  using Take = std::function<void(std::string_view)>;
  void feed(std::string_view bytes, const Take& take);
  /// What was not ended by a newline.
  void finish(const Take& take);

 private:
  std::string rest_;
};

}  // namespace textmill::fleet
