#pragma once

#include <string>
#include <string_view>

#include "http/message.h"

namespace textmill::wire {

/// A document longer than this is refused, before and after decompression.
inline constexpr size_t kMaxDocument = 16 << 20;

/// A body that is a document: JSON, a form, XML. `unpacked` holds it where it came as gzip. Throws Fault if it is too
/// large, invalid if it is no gzip.
std::string_view document(const http::Request& request, std::string& unpacked);

}  // namespace textmill::wire
