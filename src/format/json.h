#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "base/files.h"

namespace textmill::format {

struct JsonMember;

/// A JSON value. Objects keep the order of their members. Integers beyond 64 bits are numbers.
class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::vector<JsonMember>;

  Json();
  Json(std::nullptr_t);
  template <class T>
    requires std::is_arithmetic_v<T>
  Json(T value) : value_(static_cast<Stored<T>>(value)) {}
  Json(std::string value);
  Json(std::string_view value);
  Json(const char* value);
  Json(Array value);
  Json(Object value);
  /// {{"name", value}, ...}
  static Json object(std::initializer_list<JsonMember> members);
  static Json array(const auto& values);

  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  /// A pointer to the value if it has that type, else null.
  const bool* boolean() const { return std::get_if<bool>(&value_); }
  const int64_t* integer() const { return std::get_if<int64_t>(&value_); }
  const double* real() const { return std::get_if<double>(&value_); }
  const std::string* string() const { return std::get_if<std::string>(&value_); }
  const Array* array() const { return std::get_if<Array>(&value_); }
  Array* array() { return std::get_if<Array>(&value_); }
  const Object* object() const { return std::get_if<Object>(&value_); }
  Object* object() { return std::get_if<Object>(&value_); }

  /// An object's member, null if there is none (or no object). Looks at one member after the other.
  const Json* find(std::string_view name) const;
  /// Sets or adds a member; makes a null an object first.
  void set(std::string_view name, Json value);

  friend bool operator==(const Json&, const Json&) = default;

 private:
  template <class T>
  using Stored = std::conditional_t<std::same_as<T, bool>, bool,
                                    std::conditional_t<std::floating_point<T>, double, int64_t>>;

  std::variant<std::monostate, bool, int64_t, double, std::string, Array, Object> value_;
};

struct JsonMember {
  std::string name;
  Json value;
  friend bool operator==(const JsonMember&, const JsonMember&) = default;
};

Json Json::array(const auto& values) {
  Array out;
  for (const auto& value : values) out.emplace_back(value);
  return out;
}

struct JsonOptions {
  size_t depth = 64;           // nesting allowed
  size_t line = 1;             // number of the text's first line, for errors
  bool last_of_twins = false;  // of members of one name the last is taken; else they are an error
};

/// RFC 8259, strictly: UTF-8, one value, no member twice. Throws invalid: "WHERE:LINE:COLUMN: syntax error" (columns
/// count bytes).
Json parse_json(std::string_view text, std::string_view where, const JsonOptions& options = {});

/// The same of what was kept before bytes that are no UTF-8 were refused: they are replaced, so that it can be read,
/// replaced and deleted.
Json parse_kept_json(std::string_view text, std::string_view where);

/// A file, named in errors by its path.
Json read_json(const base::Path& path, size_t limit = size_t{256} << 20);

/// One line, members in order. A number that is not finite becomes null; 2.0 stays 2.0.
std::string to_text(const Json& value);
/// Two spaces per level and a newline at the end.
std::string to_pretty_text(const Json& value);

/// Appends a JSON string with its quotes; `text` is UTF-8.
void append_json_string(std::string& out, std::string_view text);

/// A value together with where it stands, so that what is wrong about it can be said:
/// `config.json: model.hidden_size: expected an integer from 1 to 65536, got "x"` (Kind::invalid).
///
/// Member names may be paths ("model.type"). null counts as absent. The Json must outlive the view.
class JsonView {
 public:
  /// `source` names the file or request.
  JsonView(const Json& value, std::string source) : value_(&value), source_(std::move(source)) {}

  const Json& value() const { return *value_; }
  /// "config.json: model.hidden_size"
  std::string where() const;
  /// Throws invalid: where(), then `expected`, then what is there.
  [[noreturn]] void fail(std::string_view expected) const;

  bool boolean() const;
  int64_t integer(int64_t min = std::numeric_limits<int64_t>::min(),
                  int64_t max = std::numeric_limits<int64_t>::max()) const;
  double number() const;  // an integer too
  const std::string& string() const;
  std::vector<JsonView> array() const;
  std::vector<int64_t> integers(int64_t min, int64_t max) const;
  std::vector<std::string> strings() const;
  /// The members by name, nulls too.
  std::vector<std::pair<std::string, JsonView>> object() const;

  std::optional<JsonView> find(std::string_view path) const;
  JsonView at(std::string_view path) const;

  bool get_boolean(std::string_view path, bool absent) const;
  int64_t get_integer(std::string_view path, int64_t absent, int64_t min, int64_t max) const;
  double get_number(std::string_view path, double absent) const;
  std::string get_string(std::string_view path, std::string_view absent) const;

  /// Throws invalid naming the first member that is not one of `known`.
  void refuse_unknown(std::initializer_list<std::string_view> known) const;

 private:
  JsonView child(const Json& value, const std::string& step) const;

  const Json* value_;
  std::string source_, path_;
};

}  // namespace textmill::format
