#include "format/toml.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "base/utf8.h"

// Some texts ("[[[") break what the library asserts; it finds their error itself a step later. With NDEBUG it would
// take the assertions for granted instead.
#undef NDEBUG
#define TOML_ASSERT(condition) static_cast<void>(0)
#include <toml++/toml.h>

namespace textmill::format {

using base::Error;
using base::Kind;

namespace {

// The library's tables of characters have holes outside ASCII. It is shown @xx for such bytes (and for @), which it
// takes where TOML takes them, in strings and comments, and refuses elsewhere.
std::string hide(std::string_view text) {
  std::string out;
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x80 || c == '@')
      fmt::format_to(std::back_inserter(out), "@{:02x}", byte);
    else
      out += c;
  }
  return out;
}

std::string show(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size(); ++at) {
    int byte = 0;
    const char* digits = text.data() + at + 1;
    if (text[at] == '@' && at + 2 < text.size() &&
        std::from_chars(digits, digits + 2, byte, 16).ptr == digits + 2) {
      out += static_cast<char>(byte);
      at += 2;
    } else {
      out += text[at];
    }
  }
  return out;
}

void collect(const toml::table& table, const std::string& prefix, std::string_view source,
             std::map<std::string, TomlValue>& out) {
  for (const auto& [key, node] : table) {
    std::string name = prefix + show(key.str());
    if (const toml::table* inner = node.as_table()) {
      collect(*inner, name + ".", source, out);
      continue;
    }
    std::string where = fmt::format("{}:{}", source, node.source().begin.line);
    TomlValue& value = out[name];
    value.where = where;
    if (auto* text = node.as_string())
      value.text = show(text->get());
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
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  if (auto bad = base::invalid_utf8(text)) {
    auto line = 1 + std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(*bad), '\n');
    throw Error(Kind::invalid, fmt::format("{}:{}: not UTF-8", where, line));
  }
  try {
    std::map<std::string, TomlValue> out;
    collect(toml::parse(hide(text)), "", where, out);
    return out;
  } catch (const toml::parse_error& error) {  // the library's own type, made ours
    throw Error(Kind::invalid,
                fmt::format("{}:{}: {}", where, error.source().begin.line, show(error.description())));
  }
}

std::map<std::string, TomlValue> read_toml(const base::Path& path) {
  constexpr size_t kLimit = size_t{1} << 20;
  return parse_toml(base::read_file(path, kLimit), path.string());
}

}  // namespace textmill::format
