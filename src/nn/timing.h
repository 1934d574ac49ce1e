#pragma once

#include <vector>

#include "nn/cpu.h"

namespace textmill::nn {

/// How long the CPU engine takes on this machine, from measurements of about a second: products together with what stands
/// between them in an encoder (activation, residual, norm), by rows and width; attention by length. Everything else of an
/// encoder is small beside them.
class Timing {
 public:
  /// Of plans in `format`; where `in_8_bits`, of products with weights in i8 too.
  Timing(Format format, bool in_8_bits, kernel::Pool& pool);

  /// Seconds of one pass of a forward plan over the rows of `batch`. Steps that were not measured count as those whose
  /// width and rows are nearest.
  double seconds(const Plan& plan, const Batch& batch) const;

 private:
  /// Seconds a FLOP, in logarithms, by the logarithm of the rows (or of the length): a straight line between points, level
  /// beyond them.
  struct Curve {
    double width;  // logarithm
    std::vector<double> rows, cost;
    double at(double row) const;
  };
  using Curves = std::vector<Curve>;  // by width
  static double at(const Curves& curves, double width, double rows);

  Curves in_floats_, in_8_bits_;
  Curve attention_;  // by length
};

}  // namespace textmill::nn
