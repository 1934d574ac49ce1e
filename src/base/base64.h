#pragma once

#include <string>
#include <string_view>

namespace textmill::base {

/// RFC 4648, section 4: standard alphabet, padded, no line breaks.
std::string base64_encode(std::string_view bytes);

/// The bytes again. Throws invalid, with the offset, on a character outside the alphabet, wrong padding, or
/// bits after the end that are not zero: each text stands for one string of bytes and the other way round.
std::string base64_decode(std::string_view text);

}  // namespace textmill::base
