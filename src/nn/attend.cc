#include "nn/attend.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace textmill::nn {

KeyRange visible_keys(const AttendSpec& spec, int position, int length, const int* from, const int* to) {
  KeyRange range{0, length};
  if (from) {
    range = {*from, std::min(*to, length)};
    if (range.begin >= range.end && spec.blind_sees_all) range = {0, length};
  }
  if (spec.causal) range.end = std::min(range.end, position + 1);
  if (spec.window > 0) range.begin = std::max(range.begin, position + 1 - spec.window);
  return range;
}

int relative_bucket(int relative, int buckets, int max_distance, bool bidirectional) {
  int base = 0, distance = bidirectional ? std::abs(relative) : std::max(-relative, 0);
  if (bidirectional) {
    buckets /= 2;
    if (relative > 0) base = buckets;
  }
  int exact = buckets / 2;
  if (distance < exact) return base + distance;
  float logarithm = std::log(static_cast<float>(distance) / static_cast<float>(exact));
  float scale = static_cast<float>(std::log(static_cast<double>(max_distance) / exact));
  int far = exact + static_cast<int>(logarithm / scale * static_cast<float>(buckets - exact));
  return base + std::min(far, buckets - 1);
}

}  // namespace textmill::nn
