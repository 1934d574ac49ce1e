#include "tasks/labels.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "base/spelling.h"

namespace textmill::tasks {
namespace {

/// An integer of any length: of two with equal signs the one with more digits is the larger in magnitude.
struct Integer {
  bool negative = false;
  std::string_view digits;  // without leading zeros

  static std::optional<Integer> read(std::string_view text) {
    Integer value{.negative = text.starts_with('-')};
    if (value.negative || text.starts_with('+')) text.remove_prefix(1);
    if (text.empty() || text.find_first_not_of("0123456789") != text.npos) return std::nullopt;
    value.digits = text.substr(std::min(text.find_first_not_of('0'), text.size()));
    value.negative &= !value.digits.empty();
    return value;
  }
  bool operator<(const Integer& other) const {
    if (negative != other.negative) return negative;
    auto magnitude = [](const Integer& value) { return std::pair(value.digits.size(), value.digits); };
    return negative ? magnitude(other) < magnitude(*this) : magnitude(*this) < magnitude(other);
  }
};

}  // namespace

std::vector<std::string> label_vocabulary(const std::set<std::string>& labels) {
  std::vector<std::string> order(labels.begin(), labels.end());
  if (std::all_of(order.begin(), order.end(),
                  [](const auto& label) { return Integer::read(label).has_value(); })) {
    std::stable_sort(order.begin(), order.end(),
                     [](const auto& a, const auto& b) { return *Integer::read(a) < *Integer::read(b); });
  }
  return order;
}

std::optional<int> find_label(const std::vector<std::string>& labels, const std::string& label) {
  for (const std::string& name : {label, "LABEL_" + label})
    if (auto found = std::ranges::find(labels, name); found != labels.end())
      return static_cast<int>(found - labels.begin());
  return {};
}

base::Error unknown_label(const std::string& where, const std::string& label, std::string_view whose,
                          const std::vector<std::string>& labels) {
  constexpr size_t kShown = 10;
  std::vector<std::string_view> names(labels.begin(), labels.end());
  return {base::Kind::invalid,
          fmt::format("{}: label '{}' is not one of {} {}{}{}", where, label, whose, names.size(),
                      names.size() > kShown ? "" : fmt::format(" ({})", fmt::join(names, ", ")),
                      base::did_you_mean(label, names))};
}

format::Json label_maps(const std::vector<std::string>& labels) {
  format::Json names = format::Json::object({}), ids = format::Json::object({});
  for (size_t id = 0; id < labels.size(); id++) {
    names.set(std::to_string(id), labels[id]);
    ids.set(labels[id], id);
  }
  return format::Json::object({{"id2label", std::move(names)}, {"label2id", std::move(ids)}});
}

}  // namespace textmill::tasks
