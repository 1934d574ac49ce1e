#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace textmill::wire {

/// Each byte but RFC 3986's unreserved ones (and '/' where `slash`) as %XX, upper case.
std::string percent_encode(std::string_view text, bool slash = false);
void append_percent_encoded(std::string& out, std::string_view text, bool slash = false);

/// %XX to bytes; a '%' without two digits stays. `plus`: '+' is a space, as in queries and forms.
std::string percent_decode(std::string_view text, bool plus);

using Parameters = std::vector<std::pair<std::string, std::string>>;

/// "a=1&b&c=%20" decoded, in order; parts without a name are dropped. Throws limit beyond `most` parameters.
Parameters parse_query(std::string_view query, size_t most = 1000);

}  // namespace textmill::wire
