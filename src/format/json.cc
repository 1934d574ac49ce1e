#include "format/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/basic_parser_impl.hpp>
#include <charconv>
#include <cmath>
#include <set>

#include "base/error.h"
#include "base/utf8.h"

namespace textmill::format {

using base::Error;
using base::Kind;

Json::Json() = default;
Json::Json(std::nullptr_t) {}
Json::Json(std::string value) : value_(std::move(value)) {}
Json::Json(std::string_view value) : value_(std::string(value)) {}
Json::Json(const char* value) : value_(std::string(value)) {}
Json::Json(Array value) : value_(std::move(value)) {}
Json::Json(Object value) : value_(std::move(value)) {}

Json Json::object(std::initializer_list<JsonMember> members) { return Object(members); }

const Json* Json::find(std::string_view name) const {
  if (const Object* members = object()) {
    for (const JsonMember& member : *members) {
      if (member.name == name) return &member.value;
    }
  }
  return nullptr;
}

void Json::set(std::string_view name, Json value) {
  if (is_null()) value_ = Object();
  Object* members = std::get_if<Object>(&value_);
  TEXTMILL_CHECK(members);
  for (JsonMember& member : *members) {
    if (member.name == name) {
      member.value = std::move(value);
      return;
    }
  }
  members->push_back({std::string(name), std::move(value)});
}

namespace {

/// Receives the parser's events and builds the value: what is finished waits on `values_`, names on `names_`.
class Builder {
 public:
  static constexpr size_t max_object_size = SIZE_MAX, max_array_size = SIZE_MAX, max_key_size = SIZE_MAX,
                          max_string_size = SIZE_MAX;
  using error_code = boost::json::error_code;
  using string_view = boost::json::string_view;

  explicit Builder(bool last_of_twins) : last_of_twins_(last_of_twins) {}

  Json take() { return std::move(values_.back()); }
  const std::string& duplicate() const { return duplicate_; }

  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }
  bool on_array_begin(error_code&) { return true; }
  bool on_object_begin(error_code&) { return true; }

  bool on_array_end(size_t count, error_code&) {
    auto first = values_.end() - static_cast<ptrdiff_t>(count);
    Json::Array items(std::make_move_iterator(first), std::make_move_iterator(values_.end()));
    values_.erase(first, values_.end());
    return push(std::move(items));
  }

  bool on_object_end(size_t count, error_code& error) {
    Json::Object members(count);
    for (size_t i = count; i-- > 0;) {
      members[i] = {std::move(names_.back()), std::move(values_.back())};
      names_.pop_back();
      values_.pop_back();
    }
    if (last_of_twins_) {
      std::set<std::string> seen;
      std::ranges::reverse(members);
      std::erase_if(members, [&](const JsonMember& member) { return !seen.insert(member.name).second; });
      std::ranges::reverse(members);
      return push(std::move(members));
    }
    std::vector<std::string_view> names;
    for (const JsonMember& member : members) names.push_back(member.name);
    std::sort(names.begin(), names.end());
    auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end()) {
      duplicate_ = *twice;
      error = boost::json::error::extra_data;
      return false;
    }
    return push(std::move(members));
  }

  bool on_key_part(string_view part, size_t, error_code&) { return append(part); }
  bool on_key(string_view part, size_t, error_code&) {
    names_.push_back(finish(part));
    return true;
  }
  bool on_string_part(string_view part, size_t, error_code&) { return append(part); }
  bool on_string(string_view part, size_t, error_code&) { return push(finish(part)); }

  bool on_number_part(string_view part, error_code&) { return append(part); }
  bool on_int64(int64_t value, string_view, error_code&) {
    text_.clear();
    return push(value);
  }
  bool on_uint64(uint64_t value, string_view, error_code&) {
    text_.clear();
    return push(static_cast<double>(value));
  }
  // The parser's own value may be off in the last digit; the text is not.
  bool on_double(double value, string_view part, error_code& error) {
    std::string digits = finish(part);
    auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (result.ec == std::errc::result_out_of_range) {
      if (std::abs(value) > 1)
        error = boost::json::error::exponent_overflow;
      else
        value = 0;
    }
    return !error && push(value);
  }
  bool on_bool(bool value, error_code&) { return push(value); }
  bool on_null(error_code&) { return push(nullptr); }
  bool on_comment_part(string_view, error_code&) { return true; }
  bool on_comment(string_view, error_code&) { return true; }

 private:
  bool push(auto value) {
    values_.emplace_back(std::move(value));
    return true;
  }
  bool append(string_view part) {
    text_.append(part.data(), part.size());
    return true;
  }
  std::string finish(string_view part) {
    append(part);
    return std::exchange(text_, {});
  }

  std::vector<Json> values_;
  std::vector<std::string> names_;
  std::string text_;
  std::string duplicate_;
  const bool last_of_twins_;
};

std::string position(std::string_view text, size_t offset, size_t first_line) {
  std::string_view before = text.substr(0, offset);
  size_t line = first_line + static_cast<size_t>(std::count(before.begin(), before.end(), '\n'));
  size_t column = before.size() - (before.rfind('\n') + 1) + 1;
  return fmt::format("{}:{}", line, column);
}

}  // namespace

Json parse_json(std::string_view text, std::string_view where, const JsonOptions& options) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  boost::json::parse_options rules;
  rules.max_depth = options.depth;
  boost::json::basic_parser<Builder> parser(rules, options.last_of_twins);
  boost::json::error_code error;
  size_t used = parser.write_some(false, text.data(), text.size(), error);
  if (!error && used < text.size()) error = boost::json::error::extra_data;
  if (!error) return parser.handler().take();
  const std::string& duplicate = parser.handler().duplicate();
  throw Error(Kind::invalid,
              fmt::format("{}:{}: {}", where, position(text, used, options.line),
                          duplicate.empty() ? error.message()
                                            : fmt::format("the object has \"{}\" twice", duplicate)));
}

Json parse_kept_json(std::string_view text, std::string_view where) {
  return base::invalid_utf8(text) ? parse_json(base::replace_invalid_utf8(text), where)
                                  : parse_json(text, where);
}

Json read_json(const base::Path& path, size_t limit) {
  return parse_json(base::read_file(path, limit), path.string());
}

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  for (char c : text) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20)
          fmt::format_to(std::back_inserter(out), "\\u{:04x}", c);
        else
          out += c;
    }
  }
  out += '"';
}

namespace {

void append_number(std::string& out, double value) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  std::string digits = fmt::format("{}", value);
  out += digits;
  if (digits.find_first_of(".e") == std::string::npos) out += ".0";
}

/// `indent` spaces before each line; negative: one line.
void append(std::string& out, const Json& value, int indent) {
  auto break_line = [&](int spaces) {
    if (indent >= 0) out.append(1, '\n').append(static_cast<size_t>(spaces), ' ');
  };
  auto append_list = [&](char open, const auto& items, char close, auto&& append_item) {
    out += open;
    bool first = true;
    for (const auto& item : items) {
      if (!first) out += ',';
      first = false;
      break_line(indent + 2);
      append_item(item);
    }
    if (!items.empty()) break_line(indent);
    out += close;
  };
  int deeper = indent >= 0 ? indent + 2 : indent;
  if (auto* items = value.array()) {
    append_list('[', *items, ']', [&](const Json& item) { append(out, item, deeper); });
  } else if (auto* members = value.object()) {
    append_list('{', *members, '}', [&](const JsonMember& member) {
      append_json_string(out, member.name);
      out += indent >= 0 ? ": " : ":";
      append(out, member.value, deeper);
    });
  } else if (auto* text = value.string()) {
    append_json_string(out, *text);
  } else if (auto* integer = value.integer()) {
    fmt::format_to(std::back_inserter(out), "{}", *integer);
  } else if (auto* real = value.real()) {
    append_number(out, *real);
  } else if (auto* boolean = value.boolean()) {
    out += *boolean ? "true" : "false";
  } else {
    out += "null";
  }
}

}  // namespace

std::string to_text(const Json& value) {
  std::string out;
  append(out, value, -1);
  return out;
}

std::string to_pretty_text(const Json& value) {
  std::string out;
  append(out, value, 0);
  return out + '\n';
}

std::string JsonView::where() const { return path_.empty() ? source_ : source_ + ": " + path_; }

void JsonView::fail(std::string_view expected) const {
  constexpr size_t kShown = 60;
  std::string found;
  if (value_->array())
    found = fmt::format("an array of {}", value_->array()->size());
  else if (value_->object())
    found = "an object";
  else
    found = to_text(*value_);
  if (found.size() > kShown) {
    size_t cut = kShown;
    while ((static_cast<unsigned char>(found[cut]) & 0xc0) == 0x80) --cut;  // not within a character
    found = found.substr(0, cut) + "...";
  }
  throw Error(Kind::invalid, fmt::format("{}: expected {}, got {}", where(), expected, found));
}

JsonView JsonView::child(const Json& value, const std::string& step) const {
  JsonView out(value, source_);
  out.path_ = path_.empty() || step.starts_with('[') ? path_ + step : path_ + "." + step;
  return out;
}

bool JsonView::boolean() const {
  if (!value_->boolean()) fail("true or false");
  return *value_->boolean();
}

int64_t JsonView::integer(int64_t min, int64_t max) const {
  const int64_t* value = value_->integer();
  if (value && *value >= min && *value <= max) return *value;
  using Limits = std::numeric_limits<int64_t>;
  if (min == Limits::min() && max == Limits::max()) fail("an integer");
  if (max == Limits::max()) fail(fmt::format("an integer of at least {}", min));
  fail(fmt::format("an integer from {} to {}", min, max));
}

double JsonView::number() const {
  if (value_->integer()) return static_cast<double>(*value_->integer());
  if (!value_->real()) fail("a number");
  return *value_->real();
}

const std::string& JsonView::string() const {
  if (!value_->string()) fail("a string");
  return *value_->string();
}

std::vector<JsonView> JsonView::array() const {
  if (!value_->array()) fail("an array");
  std::vector<JsonView> out;
  for (const Json& item : *value_->array()) out.push_back(child(item, fmt::format("[{}]", out.size())));
  return out;
}

std::vector<int64_t> JsonView::integers(int64_t min, int64_t max) const {
  if (!value_->array()) fail("an array of integers");
  std::vector<int64_t> out;
  for (const Json& item : *value_->array()) {
    const int64_t* value = item.integer();
    if (!value || *value < min || *value > max)
      child(item, fmt::format("[{}]", out.size())).integer(min, max);
    out.push_back(*value);
  }
  return out;
}

std::vector<std::string> JsonView::strings() const {
  std::vector<std::string> out;
  for (const JsonView& item : array()) out.push_back(item.string());
  return out;
}

std::vector<std::pair<std::string, JsonView>> JsonView::object() const {
  if (!value_->object()) fail("an object");
  std::vector<std::pair<std::string, JsonView>> out;
  for (const JsonMember& member : *value_->object())
    out.emplace_back(member.name, child(member.value, member.name));
  return out;
}

std::optional<JsonView> JsonView::find(std::string_view path) const {
  JsonView at = *this;
  while (true) {
    if (!at.value_->object()) at.fail("an object");
    const Json* member = at.value_->find(path);  // a name may hold dots
    size_t dot = member ? std::string_view::npos : path.find('.');
    std::string_view name = path.substr(0, dot);
    if (dot != std::string_view::npos) member = at.value_->find(name);
    if (!member || member->is_null()) return std::nullopt;
    at = at.child(*member, std::string(name));
    if (dot == std::string_view::npos) return at;
    path.remove_prefix(dot + 1);
  }
}

JsonView JsonView::at(std::string_view path) const {
  if (auto found = find(path)) return *found;
  throw Error(Kind::invalid, fmt::format("{}: {} is missing", where(), path));
}

bool JsonView::get_boolean(std::string_view path, bool absent) const {
  auto found = find(path);
  return found ? found->boolean() : absent;
}

int64_t JsonView::get_integer(std::string_view path, int64_t absent, int64_t min, int64_t max) const {
  auto found = find(path);
  return found ? found->integer(min, max) : absent;
}

double JsonView::get_number(std::string_view path, double absent) const {
  auto found = find(path);
  return found ? found->number() : absent;
}

std::string JsonView::get_string(std::string_view path, std::string_view absent) const {
  auto found = find(path);
  return found ? found->string() : std::string(absent);
}

void JsonView::refuse_unknown(std::initializer_list<std::string_view> known) const {
  if (!value_->object()) fail("an object");
  for (const JsonMember& member : *value_->object()) {
    if (std::find(known.begin(), known.end(), member.name) != known.end()) continue;
    throw Error(Kind::invalid, fmt::format("{}: unknown member \"{}\", expected one of {}", where(),
                                           member.name, fmt::join(known, ", ")));
  }
}

}  // namespace textmill::format
