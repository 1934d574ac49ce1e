#include "store/distribution.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"

namespace textmill::store {

namespace {

constexpr size_t kExact = 100;       // distinct values
constexpr double kStep = 0.0198026;  // log(1.02): a value and the middle of its step differ by 1 % at most

double rounded(double value) {
  if (value == 0 || !std::isnormal(value)) return value;
  return std::copysign(std::exp(std::round(std::log(std::abs(value)) / kStep) * kStep), value);
}

}  // namespace

Distribution Distribution::of_sum(double count, double sum, double minimum, double maximum) {
  if (count > 0 && minimum == maximum) return decode(count, sum, minimum, maximum, {});
  Distribution d;
  d.count_ = count;
  d.sum_ = sum;
  d.minimum_ = minimum;
  d.maximum_ = maximum;
  return d;
}

// Where all values are equal they are known without being written down.
std::string Distribution::encode_values() const {
  if (known_.size() == 1 && minimum_ == maximum_) return {};
  std::string out(known_.size() * sizeof(Known), '\0');
  if (!known_.empty()) std::memcpy(out.data(), known_.data(), out.size());
  return out;
}

Distribution Distribution::decode(double count, double sum, double minimum, double maximum,
                                  std::string_view values) {
  TEXTMILL_CHECK(values.size() % sizeof(Known) == 0);
  Distribution d;
  d.count_ = count;
  d.sum_ = sum;
  d.minimum_ = minimum;
  d.maximum_ = maximum;
  d.known_.resize(values.size() / sizeof(Known));
  if (!values.empty()) std::memcpy(d.known_.data(), values.data(), values.size());
  if (values.empty() && minimum == maximum) d.known_.push_back({minimum, count});
  return d;
}

void Distribution::merge(const Distribution& other) {
  if (other.count_ == 0) return;
  minimum_ = count_ == 0 ? other.minimum_ : std::min(minimum_, other.minimum_);
  maximum_ = count_ == 0 ? other.maximum_ : std::max(maximum_, other.maximum_);
  count_ += other.count_;
  sum_ += other.sum_;
  known_.insert(known_.end(), other.known_.begin(), other.known_.end());
  compress();
}

void Distribution::compress() {
  auto join_equal = [&] {
    std::ranges::sort(known_, {}, &Known::value);
    size_t kept = 0;
    for (const Known& k : known_) {
      if (kept > 0 && known_[kept - 1].value == k.value)
        known_[kept - 1].weight += k.weight;
      else
        known_[kept++] = k;
    }
    known_.resize(kept);
  };
  join_equal();
  if (known_.size() <= kExact) return;
  for (Known& k : known_) k.value = rounded(k.value);
  join_equal();
}

double Distribution::known() const {
  double total = 0;
  for (const Known& k : known_) total += k.weight;
  return total;
}

std::optional<double> Distribution::percentile(double share) const {
  if (known_.empty()) return std::nullopt;
  // The values in order stand at 0, 1, ... n - 1; a fraction lies between two of them.
  double at = share * (known() - 1), before = 0;
  for (size_t i = 0; i < known_.size(); ++i) {
    before += known_[i].weight;
    if (at <= before - 1 || i + 1 == known_.size()) return std::clamp(known_[i].value, minimum_, maximum_);
    if (at < before)
      return std::clamp(std::lerp(known_[i].value, known_[i + 1].value, at - (before - 1)), minimum_,
                        maximum_);
  }
  return std::nullopt;
}

std::pair<double, double> Distribution::between(double low_share, double high_share) const {
  double total = known(), low = low_share * total, high = high_share * total, before = 0, count = 0, sum = 0;
  for (const Known& k : known_) {
    double inside = std::min(before + k.weight, high) - std::max(before, low);
    if (inside > 0) {
      count += inside;
      sum += inside * k.value;
    }
    before += k.weight;
  }
  return {count, sum};
}

std::pair<double, double> Distribution::within(double low, double high) const {
  double count = 0, sum = 0;
  for (const Known& k : known_)
    if (k.value > low && k.value <= high) {
      count += k.weight;
      sum += k.weight * k.value;
    }
  return {count, sum};
}

}  // namespace textmill::store
