#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace textmill::api {

/// Values by time (seconds, multiples of the period from the start of the range on); times without one are left out.
struct TimeSeries {
  std::string label;
  int64_t period = 60;  // seconds
  std::map<int64_t, double> points;
};

/// What CloudWatch calls S, TS and TS[].
using MathValue = std::variant<double, TimeSeries, std::vector<TimeSeries>>;

/// What an expression may refer to.
struct MathScope {
  std::function<MathValue(std::string_view id)> find;                     // throws for an unknown one
  std::function<std::vector<TimeSeries>(std::string_view part)> metrics;  // those with `part` in their ids
  int64_t start = 0, end = 0, period = 60;  // the range; of what has no period of its own
};

/// An expression of CloudWatch's metric math: + - * / ^, comparisons, AND, OR and the functions of kFunctions. What is
/// wrong with it, or not served of it, is thrown as ValidationError naming the place.
class MathExpression {
 public:
  explicit MathExpression(std::string_view text);
  MathExpression(MathExpression&&) noexcept;
  ~MathExpression();
  MathValue evaluate(const MathScope& scope) const;

  struct Node;

 private:
  std::unique_ptr<const Node> root_;
};

}  // namespace textmill::api
