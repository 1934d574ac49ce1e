#include "train/loss.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace textmill::train {

double cross_entropy_root(std::span<const float> logits, std::span<const int32_t> labels, double row_weight,
                          std::span<float> gradient) {
  TEXTMILL_CHECK(!labels.empty() && logits.size() == gradient.size() && logits.size() % labels.size() == 0);
  size_t classes = logits.size() / labels.size();
  double loss = 0;
  for (size_t row = 0; row < labels.size(); row++) {
    auto x = logits.subspan(row * classes, classes);
    auto d = gradient.subspan(row * classes, classes);
    double largest = *std::max_element(x.begin(), x.end()), sum = 0;
    for (float logit : x) sum += std::exp(logit - largest);
    double log_sum = std::log(sum) + largest;
    for (size_t i = 0; i < classes; i++) d[i] = static_cast<float>(row_weight * std::exp(x[i] - log_sum));
    d[labels[row]] -= static_cast<float>(row_weight);
    loss += row_weight * (log_sum - x[labels[row]]);
  }
  return loss;
}

}  // namespace textmill::train
