#include "wire/uri.h"

#include <fmt/format.h>

#include "base/error.h"

namespace textmill::wire {
namespace {

bool unreserved(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
         c == '_' || c == '~';
}

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

void append_percent_encoded(std::string& out, std::string_view text, bool slash) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  for (char c : text) {
    if (unreserved(c) || (slash && c == '/')) {
      out += c;
    } else {
      auto byte = static_cast<unsigned char>(c);
      ((out += '%') += kHex[byte >> 4]) += kHex[byte & 15];
    }
  }
}

std::string percent_encode(std::string_view text, bool slash) {
  std::string out;
  out.reserve(text.size() + text.size() / 4);
  append_percent_encoded(out, text, slash);
  return out;
}

std::string percent_decode(std::string_view text, bool plus) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    int high = -1, low = -1;
    if (text[i] == '%' && i + 2 < text.size()) high = digit(text[i + 1]), low = digit(text[i + 2]);
    if (high >= 0 && low >= 0) {
      out += static_cast<char>(high << 4 | low);
      i += 2;
    } else {
      out += plus && text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

Parameters parse_query(std::string_view query, size_t most) {
  Parameters out;
  while (!query.empty()) {
    auto part = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), part.size() + 1));
    auto equals = part.find('=');
    if (part.empty() || equals == 0) continue;
    if (out.size() == most)
      throw base::Error(base::Kind::limit, fmt::format("more than {} parameters", most));
    out.emplace_back(percent_decode(part.substr(0, equals), true),
                     equals == part.npos ? "" : percent_decode(part.substr(equals + 1), true));
  }
  return out;
}

}  // namespace textmill::wire
