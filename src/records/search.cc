#include "records/search.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/error.h"
#include "base/time.h"

namespace textmill::records {

using format::Json;

namespace {

std::string_view text_at(const Json& object, std::string_view name, std::string_view absent = "") {
  const Json* member = object.find(name);
  return member && member->string() ? std::string_view(*member->string()) : absent;
}

std::optional<double> number_of(std::string_view text) {
  double value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size() && std::isfinite(value)) return value;
  return std::nullopt;
}

/// All values at a path; a list stands for each of its elements.
void collect(const Json& value, std::string_view path, std::vector<const Json*>& found) {
  if (const auto* list = value.array()) {
    for (const Json& element : *list) collect(element, path, found);
    return;
  }
  if (path.empty()) {
    if (!value.is_null()) found.push_back(&value);
    return;
  }
  size_t dot = std::min(path.find('.'), path.size());
  if (const Json* member = value.find(path.substr(0, dot)))
    collect(*member, path.substr(std::min(dot + 1, path.size())), found);
}

/// Lists that are written as if they were objects.
constexpr struct {
  std::string_view start, list, name;
} kNamed[] = {{"Tags.", "Tags", "Key"}, {"Metrics.", "FinalMetricDataList", "MetricName"}};

std::vector<const Json*> values_at(const Json& document, std::string_view path) {
  std::vector<const Json*> found;
  for (const auto& [start, list, name] : kNamed) {
    if (!path.starts_with(start)) continue;
    const Json* all = document.find(list);
    if (all && all->array())
      for (const Json& one : *all->array())
        if (text_at(one, name) == path.substr(start.size())) found.push_back(one.find("Value"));
    return found;
  }
  collect(document, path, found);
  return found;
}

/// -1, 0 or 1; nothing when the two cannot be compared.
std::optional<int> compare(const Json& value, std::string_view wanted) {
  auto sign = [](auto a, auto b) { return a < b ? -1 : a > b ? 1 : 0; };
  if (const auto* text = value.string()) {
    auto one = number_of(*text), other = number_of(wanted);
    return one && other ? sign(*one, *other) : sign(std::string_view(*text), wanted);
  }
  if (const auto* truth = value.boolean()) return sign(*truth ? std::string_view("true") : "false", wanted);
  const double number = value.integer() ? static_cast<double>(*value.integer())
                        : value.real()  ? *value.real()
                                        : 0;
  if (!value.integer() && !value.real()) return std::nullopt;
  if (auto other = number_of(wanted)) return sign(number, *other);
  if (wanted.find('T') == std::string_view::npos) return std::nullopt;
  auto time = base::parse_iso8601(wanted).time_since_epoch();
  return sign(number, std::chrono::duration<double>(time).count());
}

bool in_list(const Json& value, std::string_view wanted) {
  while (true) {
    size_t comma = wanted.find(',');
    if (compare(value, wanted.substr(0, comma)) == 0) return true;
    if (comma == std::string_view::npos) return false;
    wanted.remove_prefix(comma + 1);
  }
}

bool passes(const Json& document, const Json& filter) {
  std::string_view op = text_at(filter, "Operator", "Equals"), wanted = text_at(filter, "Value");
  auto values = values_at(document, text_at(filter, "Name"));
  auto any = [&](auto test) {
    return std::ranges::any_of(values, [&](const Json* value) { return test(*value); });
  };
  auto ordered = [&](auto test) {
    return any([&](const Json& value) {
      auto order = compare(value, wanted);
      return order && test(*order);
    });
  };
  if (op == "Exists") return !values.empty();
  if (op == "NotExists") return values.empty();
  if (op == "Equals") return ordered([](int order) { return order == 0; });
  if (op == "NotEquals") return !ordered([](int order) { return order == 0; });
  if (op == "GreaterThan") return ordered([](int order) { return order > 0; });
  if (op == "GreaterThanOrEqualTo") return ordered([](int order) { return order >= 0; });
  if (op == "LessThan") return ordered([](int order) { return order < 0; });
  if (op == "LessThanOrEqualTo") return ordered([](int order) { return order <= 0; });
  if (op == "Contains")
    return any([&](const Json& value) {
      return value.string() && value.string()->find(wanted) != std::string::npos;
    });
  if (op == "In") return any([&](const Json& value) { return in_list(value, wanted); });
  throw base::Error(base::Kind::invalid, fmt::format("The operator {} is not known.", op));
}

/// NestedFilters: one element of a list has to pass all of them.
bool passes_nested(const Json& document, const Json& nested) {
  std::string path(text_at(nested, "NestedPropertyName"));
  const Json* filters = nested.find("Filters");
  const Json* list = document.find(path);
  if (!filters || !filters->array() || !list || !list->array()) return false;
  return std::ranges::any_of(*list->array(), [&](const Json& element) {
    Json whole;
    whole.set(path, element);
    return std::ranges::all_of(*filters->array(), [&](const Json& filter) { return passes(whole, filter); });
  });
}

}  // namespace

void sort_by(std::vector<Json>& documents, std::string_view path, bool descending) {
  using Key = std::optional<std::variant<double, std::string>>;
  auto key_of = [&](const Json& document) -> Key {
    auto values = values_at(document, path);
    if (values.empty()) return std::nullopt;
    const Json& value = *values[0];
    if (value.integer()) return static_cast<double>(*value.integer());
    if (value.real()) return *value.real();
    std::string text = value.string() ? *value.string() : format::to_text(value);
    if (auto number = number_of(text)) return *number;
    return text;
  };
  std::vector<std::pair<Key, Json>> keyed;
  for (Json& document : documents) keyed.emplace_back(key_of(document), std::move(document));
  if (!keyed.empty() && std::ranges::none_of(keyed, [](const auto& one) { return one.first.has_value(); }))
    throw base::Error(base::Kind::invalid, fmt::format("SortBy {}: none of the results has it.", path));
  std::ranges::stable_sort(keyed, [&](const auto& a, const auto& b) {
    if (!a.first || !b.first) return a.first.has_value() && !b.first;
    return descending ? *b.first < *a.first : *a.first < *b.first;
  });
  for (size_t i = 0; i < keyed.size(); ++i) documents[i] = std::move(keyed[i].second);
}

bool matches(const Json& document, const Json& expression) {
  std::vector<bool> results;
  auto judge = [&](std::string_view member, auto test) {
    const Json* list = expression.find(member);
    if (list && list->array())
      for (const Json& item : *list->array()) results.push_back(test(document, item));
  };
  judge("Filters", passes);
  judge("NestedFilters", passes_nested);
  judge("SubExpressions", matches);
  if (text_at(expression, "Operator", "And") == "Or")
    return std::ranges::find(results, true) != results.end();
  return std::ranges::find(results, false) == results.end();
}

}  // namespace textmill::records
