#pragma once

#include <string>
#include <vector>

#include "api/metric_math.h"
#include "wire/fault.h"

// Between the two halves of metric math: reading (metric_math.cc) and computing (metric_functions.cc).

namespace textmill::api {

struct MathExpression::Node {
  enum class Kind { number, name, text, call } kind = Kind::number;
  double number = 0;
  std::string text;         // a name, a text, a function or an operator ("+", "neg")
  std::vector<Node> parts;  // arguments
};

inline wire::Fault math_fault(const std::string& what) { return {"ValidationError", 400, what}; }

MathValue compute(const MathExpression::Node& node, const MathScope& scope);
/// Throws unless the function is served and takes that many arguments.
void check_function(std::string_view name, size_t arguments);

}  // namespace textmill::api
