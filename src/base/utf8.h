#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace textmill::base {

/// The offset of the first byte that does not begin a well-formed UTF-8 sequence (RFC 3629: no overlong
/// forms, no surrogates, nothing above U+10FFFF); nothing when all is well.
std::optional<size_t> invalid_utf8(std::string_view text);

/// As much of its beginning as fits into so many bytes, whole characters.
std::string utf8_beginning(std::string_view text, size_t bytes);

/// The text with U+FFFD for each maximal ill-formed part (Unicode 15, section 3.9).
std::string replace_invalid_utf8(std::string_view text);

}  // namespace textmill::base
