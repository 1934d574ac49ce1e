#include "format/toml.h"

#include <fmt/format.h>

#include "base/error.h"

// Some texts ("[[[") break what the library asserts; it finds their error itself a step later. With NDEBUG it would
// take the assertions for granted instead.
#undef NDEBUG
#define TOML_ASSERT(condition) static_cast<void>(0)
#include <toml++/toml.h>

namespace textmill::format {

using base::Error;
using base::Kind;

namespace {

void collect(const toml::table& table, const std::string& prefix, std::string_view source,
             std::map<std::string, TomlValue>& out) {
  for (const auto& [key, node] : table) {
    std::string name = prefix + std::string(key.str());
    if (const toml::table* inner = node.as_table()) {
      collect(*inner, name + ".", source, out);
      continue;
    }
    std::string where = fmt::format("{}:{}", source, node.source().begin.line);
    TomlValue& value = out[name];
    value.where = where;
    if (auto* text = node.as_string())
      value.text = text->get();
    else if (auto* integer = node.as_integer())
      value.text = fmt::format("{}", integer->get());
    else if (auto* real = node.as_floating_point())
      value.text = fmt::format("{}", real->get());
    else if (auto* boolean = node.as_boolean())
      value.text = boolean->get() ? "true" : "false";
    else
      throw Error(Kind::invalid,
                  fmt::format("{}: {}: expected a string, a number, true or false", where, name));
  }
}

}  // namespace

std::map<std::string, TomlValue> parse_toml(std::string_view text, std::string_view where) {
  try {
    std::map<std::string, TomlValue> out;
    collect(toml::parse(text), "", where, out);
    return out;
  } catch (const toml::parse_error& error) {  // the library's own type, made ours
    throw Error(Kind::invalid,
                fmt::format("{}:{}: {}", where, error.source().begin.line, error.description()));
  }
}

std::map<std::string, TomlValue> read_toml(const base::Path& path) {
  constexpr size_t kLimit = size_t{1} << 20;
  return parse_toml(base::read_file(path, kLimit), path.string());
}

}  // namespace textmill::format
