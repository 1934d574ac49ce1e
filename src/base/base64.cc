#include "base/base64.h"

#include <array>
#include <cstdint>

#include "base/error.h"

namespace textmill::base {
namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::array<int, 256> kValues = [] {
  std::array<int, 256> values{};
  values.fill(-1);
  for (size_t i = 0; i < kAlphabet.size(); ++i)
    values[static_cast<unsigned char>(kAlphabet[i])] = static_cast<int>(i);
  return values;
}();

}  // namespace

std::string base64_encode(std::string_view bytes) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    auto byte = [&](size_t j) {
      return j < bytes.size() ? static_cast<uint32_t>(static_cast<uint8_t>(bytes[j])) : 0;
    };
    uint32_t group = byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2);
    for (int shift = 18; shift >= 0; shift -= 6) out += kAlphabet[group >> shift & 63];
  }
  size_t padding = (3 - bytes.size() % 3) % 3;
  return out.replace(out.size() - padding, padding, padding, '=');
}

std::string base64_decode(std::string_view text) {
  auto fail = [](const std::string& what) { return Error(Kind::invalid, "base64: " + what); };
  if (text.size() % 4 != 0)
    throw fail("the length " + std::to_string(text.size()) + " is not a multiple of 4");
  size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
  size_t digits = text.size() - padding;
  std::string out;
  out.reserve(text.size() / 4 * 3);
  uint32_t bits = 0, count = 0;
  for (size_t i = 0; i < digits; ++i) {
    int value = kValues[static_cast<unsigned char>(text[i])];
    if (value < 0) throw fail("a character outside the alphabet at offset " + std::to_string(i));
    bits = bits << 6 | static_cast<uint32_t>(value);
    count += 6;
    if (count >= 8) out += static_cast<char>(bits >> (count -= 8) & 255);
  }
  if (bits & ((1u << count) - 1)) throw fail("bits after the end are not zero");
  return out;
}

}  // namespace textmill::base
