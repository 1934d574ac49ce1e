#include "wire/validate.h"

#include <fmt/format.h>
#include <re2/re2.h>

#include <algorithm>
#include <cmath>
#include <mutex>

#include "base/utf8.h"
#include "wire/tree.h"

namespace textmill::wire {
namespace {

/// As Java counts: UTF-16 units.
size_t length_of(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xc0) != 0x80; }) +
                             std::ranges::count_if(text, [](char c) { return (c & 0xf8) == 0xf0; }));
}

double measure(const Shape& shape, const Value& value) {
  if (value.string())
    return static_cast<double>(shape.type == Type::blob ? value.string()->size()
                                                        : length_of(*value.string()));
  if (value.array()) return static_cast<double>(value.array()->size());
  if (value.object()) return static_cast<double>(value.object()->size());
  return value.integer() ? static_cast<double>(*value.integer()) : value.real() ? *value.real() : 0;
}

bool is_number(const Shape& shape) { return shape.type == Type::integer || shape.type == Type::real; }

std::string text_of(const Value& value) {
  if (value.is_null()) return "null";
  if (value.string()) return *value.string();
  std::string out;
  if (value.array()) {
    for (const Value& item : *value.array()) out += (out.empty() ? "" : ", ") + text_of(item);
    return "[" + out + "]";
  }
  if (value.object()) {
    for (const auto& [name, entry] : *value.object())
      out += fmt::format("{}{}={}", out.empty() ? "" : ", ", name, text_of(entry));
    return "{" + out + "}";
  }
  return format::to_text(value);
}

/// As the message has it: not all of a large one.
std::string quoted(const Value& value) {
  constexpr size_t kMost = 1024;
  std::string text = text_of(value);
  // what() ends at a NUL.
  for (size_t at = 0; (at = text.find('\0', at)) != std::string::npos;) text.replace(at, 1, "\\0");
  if (text.size() > kMost) text = base::replace_invalid_utf8(text.substr(0, kMost)) + "...";
  return "'" + text + "'";
}

/// What a shape demands, one by one: "Member must ...".
struct Rule {
  enum class Kind { min, max, values, pattern } kind;
  std::string text;
};

std::vector<Rule> rules_of(const Shape& shape) {
  std::vector<Rule> out;
  const char* what = is_number(shape) ? "value" : "length";
  if (std::isfinite(shape.max))
    out.push_back(
        {Rule::Kind::max, fmt::format("Member must have {} less than or equal to {}", what, shape.max)});
  if (std::isfinite(shape.min))
    out.push_back(
        {Rule::Kind::min, fmt::format("Member must have {} greater than or equal to {}", what, shape.min)});
  if (!shape.values().empty()) {
    std::vector<std::string_view> values(shape.values().begin(), shape.values().end());
    out.push_back({Rule::Kind::values,
                   fmt::format("Member must satisfy enum value set: [{}]", fmt::join(values, ", "))});
  }
  if (!shape.pattern.empty())
    out.push_back({Rule::Kind::pattern,
                   fmt::format("Member must satisfy regular expression pattern: {}", shape.pattern.view())});
  return out;
}

bool is_enum_value(const Shape& shape, std::string_view text) {
  return std::ranges::any_of(shape.values(), [&](Text value) { return value == text; });
}

}  // namespace

/// One input's check.
class Validator::Walk {
 public:
  Walk(const Validator& validator, bool s3) : validator_(validator), s3_(s3) {}

  void value(const Shape& shape, const Value& value, const Where& where) {
    if (!s3_) own_rules(shape, value, where);
    switch (shape.type) {
      case Type::structure: return structure(shape, value, where);
      case Type::list: return list(shape, value, where);
      case Type::map: return map(shape, value, where);
      default: return;
    }
  }

  std::vector<std::string> problems;

 private:
  void report(const std::string& value, const Where& where, std::string_view constraint) {
    problems.push_back(
        fmt::format("Value {} at '{}' failed to satisfy constraint: {}", value, where.text(), constraint));
  }

  bool breaks(const Rule& rule, const Shape& shape, const Value& value) const {
    switch (rule.kind) {
      case Rule::Kind::min: return measure(shape, value) < shape.min;
      case Rule::Kind::max: return measure(shape, value) > shape.max;
      case Rule::Kind::values: return !is_enum_value(shape, *value.string());
      case Rule::Kind::pattern: return !validator_.matches(shape, *value.string());
    }
    return false;
  }

  bool holds(const Shape& shape, const Value& value) const {
    return measure(shape, value) >= shape.min && measure(shape, value) <= shape.max &&
           (shape.values().empty() || is_enum_value(shape, *value.string())) &&
           (shape.pattern.empty() || shape.type != Type::string ||
            validator_.matches(shape, *value.string()));
  }

  void own_rules(const Shape& shape, const Value& value, const Where& where) {
    if (shape.type == Type::boolean || shape.type == Type::timestamp || holds(shape, value)) return;
    for (const Rule& rule : rules_of(shape)) {
      if (breaks(rule, shape, value)) report(quoted(value), where, rule.text);
    }
  }

  void structure(const Shape& shape, const Value& value, const Where& where) {
    for (const Member& member : shape.members()) {
      const Value* entry = value.find(member.name);
      if (entry) {
        if (s3_ && member.location != Location::body) s3_enum(member, *entry);
        this->value(member.shape(), *entry, {&where, member.name});
      } else if (member.is(kRequired) && !(member.is(kPayload) && member.shape().type == Type::blob)) {
        report("null", {&where, member.name}, "Member must not be null");
      }
    }
  }

  /// Scalars in a list are reported with the list.
  void list(const Shape& shape, const Value& value, const Where& where) {
    const Shape& element = shape.members()[0].shape();
    bool nested = element.type == Type::structure || element.type == Type::list || element.type == Type::map;
    const auto& items = *value.array();
    if (nested) {
      for (size_t i = 0; i < items.size(); ++i) this->value(element, items[i], {&where, {}, i + 1});
    } else if (!s3_ && !std::ranges::all_of(items, [&](const Value& item) { return holds(element, item); })) {
      report(quoted(value), where, fmt::format("Member must satisfy constraint: [{}]", all_rules(element)));
    }
  }

  void map(const Shape& shape, const Value& value, const Where& where) {
    if (s3_) return;
    const Shape &key = shape.members()[0].shape(), &element = shape.members()[1].shape();
    bool nested = element.type == Type::structure || element.type == Type::list || element.type == Type::map;
    const auto& entries = *value.object();
    if (!std::ranges::all_of(entries, [&](const auto& entry) { return holds(key, Value(entry.name)); })) {
      report("'" + text_of(value) + "'", where,
             fmt::format("Map keys must satisfy constraint: [{}]", all_rules(key)));
    }
    if (nested) {
      for (const auto& entry : entries) this->value(element, entry.value, {&where, entry.name});
    } else if (!std::ranges::all_of(entries,
                                    [&](const auto& entry) { return holds(element, entry.value); })) {
      report("'" + text_of(value) + "'", where,
             fmt::format("Map value must satisfy constraint: [{}]", all_rules(element)));
    }
  }

  static void s3_enum(const Member& member, const Value& value) {
    if (member.shape().values().empty() || is_enum_value(member.shape(), *value.string())) return;
    if (member.name == "ChecksumMode" && *value.string() == "enabled") return;  // as SDKs in C++ write it
    throw Fault(
        member.name == "StorageClass" ? "InvalidStorageClass" : "InvalidArgument", 400,
        fmt::format("'{}' is not one of the values that {} may have", *value.string(), member.wire.view()),
        Value::object(
            {{"ArgumentName", std::string(member.wire.view())}, {"ArgumentValue", *value.string()}}));
  }

  static std::string all_rules(const Shape& shape) {
    std::string out;
    for (const Rule& rule : rules_of(shape)) out += (out.empty() ? "" : ", ") + rule.text;
    return out;
  }

  const Validator& validator_;
  const bool s3_;
};

Validator::Validator() = default;
Validator::~Validator() = default;

bool Validator::matches(const Shape& shape, std::string_view text) const {
  re2::StringPiece subject(text.data(), text.size());
  {
    std::shared_lock lock(mutex_);
    auto found = patterns_.find(shape.expression.bits);
    if (found != patterns_.end()) return re2::RE2::FullMatch(subject, *found->second);
  }
  std::unique_lock lock(mutex_);
  auto& pattern = patterns_[shape.expression.bits];
  if (!pattern) {
    std::string_view expression = shape.expression;
    re2::RE2::Options options;
    options.set_max_mem(1 << 20);
    pattern = std::make_unique<re2::RE2>(re2::StringPiece(expression.data(), expression.size()), options);
    TEXTMILL_CHECK(pattern->ok());
  }
  return re2::RE2::FullMatch(subject, *pattern);
}

void Validator::check(const Operation& operation, const Value& input) const {
  bool s3 = operation.service().protocol == Protocol::rest_xml;
  Walk walk(*this, s3);
  walk.value(operation.input(), input, {});
  if (walk.problems.empty()) return;
  if (s3)
    throw Fault("MalformedXML", 400,
                "The XML you provided was not well-formed or did not validate against our published schema");
  throw validation_fault(operation.service(),
                         fmt::format("{} validation error{} detected: {}", walk.problems.size(),
                                     walk.problems.size() == 1 ? "" : "s", fmt::join(walk.problems, "; ")));
}

}  // namespace textmill::wire
