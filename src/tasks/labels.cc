#include "tasks/labels.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>

namespace textmill::tasks {
namespace {

std::optional<int64_t> integer(std::string_view text) {
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

}  // namespace

std::vector<std::string> label_vocabulary(const std::set<std::string>& labels) {
  std::vector<std::string> order(labels.begin(), labels.end());
  if (std::all_of(order.begin(), order.end(), [](const auto& label) { return integer(label).has_value(); })) {
    std::stable_sort(order.begin(), order.end(),
                     [](const auto& a, const auto& b) { return *integer(a) < *integer(b); });
  }
  return order;
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
