#include "wire/tree.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <optional>

#include "base/base64.h"
#include "wire/times.h"

namespace textmill::wire {

using format::Json;

namespace {

bool in_range(const Shape& shape, int64_t value) {
  return shape.is(kLong) || value == static_cast<int32_t>(value);
}

/// What a JSON value is called in a message.
std::string_view token(const Value& value) {
  if (value.boolean()) return *value.boolean() ? "TRUE_VALUE" : "FALSE_VALUE";
  if (value.string()) return "STRING_VALUE";
  if (value.array()) return "START_ARRAY";
  if (value.object()) return "START_OBJECT";
  return value.is_null() ? "NULL_VALUE" : "NUMBER_VALUE";
}

/// `value` at `where` is not what the shape wants.
[[noreturn]] void refuse_type(const Shape& shape, std::string_view value, const Where& where) {
  std::string place = where.text();
  throw Fault("SerializationException", 400,
              fmt::format("{} can not be converted to {} {}{}", value,
                          shape.type == Type::integer && !shape.is(kLong) ? "an" : "a", name_of(shape),
                          place.empty() ? "" : " at '" + place + "'"));
}

void adopt_members(const Shape& shape, Value& value, const Where& where) {
  Json::Object* members = value.object();
  if (!members) refuse_type(shape, token(value), where);
  std::erase_if(*members, [&](format::JsonMember& entry) {
    const Member* member = entry.value.is_null() ? nullptr : shape.find(entry.name);
    if (member) adopt_json(member->shape(), entry.value, {&where, entry.name});
    return !member;
  });
}

void adopt_scalar(const Shape& shape, Value& value, const Where& where) {
  bool fits = false;
  switch (shape.type) {
    case Type::string: fits = value.string(); break;
    case Type::boolean: fits = value.boolean(); break;
    case Type::integer:
      if (const double* real = value.real();
          real && std::nearbyint(*real) == *real && std::fabs(*real) < 9e15) {
        value = static_cast<int64_t>(*real);
      }
      fits = value.integer() && in_range(shape, *value.integer());
      break;
    case Type::real:
      if (const int64_t* integer = value.integer()) value = static_cast<double>(*integer);
      if (const std::string* text = value.string();
          text && (*text == "NaN" || *text == "Infinity" || *text == "-Infinity")) {
        value = std::stod(*text);
      }
      fits = value.real();
      break;
    case Type::timestamp:
      if (const std::string* text = value.string()) value = scalar_from_text(shape, *text).value_or(value);
      if (const int64_t* integer = value.integer()) value = static_cast<double>(*integer);
      fits = value.real() && is_time(*value.real());
      if (!fits && value.real()) refuse_type(shape, format::to_text(value), where);
      break;
    case Type::blob:
      fits = value.string();
      if (fits) value = base::base64_decode(*value.string());
      break;
    default: break;
  }
  if (!fits) refuse_type(shape, token(value), where);
}

}  // namespace

std::string_view name_of(const Shape& shape) {
  switch (shape.type) {
    case Type::structure: return "Structure";
    case Type::list: return "List";
    case Type::map: return "Map";
    case Type::string: return "String";
    case Type::integer: return shape.is(kLong) ? "Long" : "Integer";
    case Type::real: return "Double";
    case Type::boolean: return "Boolean";
    case Type::timestamp: return "Timestamp";
    case Type::blob: return "Blob";
  }
  return "";
}

std::string Where::text() const {
  std::string out = up ? up->text() : "";
  if (index) return out + fmt::format("{}{}.member", out.empty() ? "" : ".", index);
  if (member.empty()) return out;
  if (!out.empty()) out += '.';
  size_t first = out.size();
  out += member;
  if (out[first] >= 'A' && out[first] <= 'Z') out[first] = static_cast<char>(out[first] + 32);
  return out;
}

void adopt_json(const Shape& shape, Value& value, const Where& where) {
  switch (shape.type) {
    case Type::structure: return adopt_members(shape, value, where);
    case Type::list: {
      Json::Array* items = value.array();
      if (!items) refuse_type(shape, token(value), where);
      const Shape& element = shape.members()[0].shape();
      for (size_t i = 0; i < items->size(); ++i) adopt_json(element, (*items)[i], {&where, {}, i + 1});
      return;
    }
    case Type::map: {
      Json::Object* entries = value.object();
      if (!entries) refuse_type(shape, token(value), where);
      const Shape& element = shape.members()[1].shape();
      for (auto& entry : *entries) adopt_json(element, entry.value, {&where, entry.name});
      return;
    }
    default: return adopt_scalar(shape, value, where);
  }
}

void append_json(std::string& out, const Shape& shape, const Value& value) {
  switch (shape.type) {
    case Type::structure:
    case Type::map: {
      TEXTMILL_CHECK(value.object());
      char before = '{';
      for (const auto& [name, entry] : *value.object()) {
        if (entry.is_null()) continue;
        const Member* member = shape.type == Type::map ? &shape.members()[1] : shape.find(name);
        if (!member)
          throw base::Error(base::Kind::internal,
                            fmt::format("{} has no member {}", shape.name.view(), name));
        if (member->location != Location::body) continue;
        out += before;
        format::append_json_string(out, name);
        out += ':';
        append_json(out, member->shape(), entry);
        before = ',';
      }
      if (before == '{') out += before;
      out += '}';
      return;
    }
    case Type::list: {
      TEXTMILL_CHECK(value.array());
      char before = '[';
      for (const Value& item : *value.array()) {
        out += before;
        append_json(out, shape.members()[0].shape(), item);
        before = ',';
      }
      if (before == '[') out += before;
      out += ']';
      return;
    }
    case Type::blob: return format::append_json_string(out, base::base64_encode(*value.string()));
    default: out += format::to_text(value);
  }
}

std::optional<Value> scalar_from_text(const Shape& shape, std::string_view text) {
  auto number = [&](auto value) -> std::optional<Value> {
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size() ? std::optional<Value>(value)
                                                                    : std::nullopt;
  };
  switch (shape.type) {
    case Type::string: return text;
    case Type::integer: {
      auto value = number(int64_t{0});
      return value && in_range(shape, *value->integer()) ? value : std::nullopt;
    }
    case Type::real: return number(0.0);
    case Type::boolean:
      if (text == "true" || text == "True" || text == "TRUE") return true;
      if (text == "false" || text == "False" || text == "FALSE") return false;
      return std::nullopt;
    case Type::timestamp:
      if (auto date = parse_http_date(text)) return to_seconds(*date);
      if (text.find('T') != text.npos && text[0] >= '0' && text[0] <= '9')
        return to_seconds(base::parse_iso8601(text));
      if (auto seconds = number(0.0); seconds && is_time(*seconds->real())) return seconds;
      return std::nullopt;
    case Type::blob: return base::base64_decode(text);
    default: return std::nullopt;
  }
}

std::string scalar_to_text(const Shape& shape, const Value& value, Times natural) {
  switch (shape.type) {
    case Type::string: return *value.string();
    case Type::blob: return base::base64_encode(*value.string());
    case Type::timestamp: {
      double seconds = value.real() ? *value.real() : static_cast<double>(*value.integer());
      Times times = shape.times == Times::natural ? natural : shape.times;
      if (times == Times::epoch) return format::to_text(value);
      return times == Times::http ? http_date(from_seconds(seconds)) : base::iso8601(from_seconds(seconds));
    }
    default: return format::to_text(value);
  }
}

}  // namespace textmill::wire
