#pragma once

#include <string_view>

#include "http/message.h"
#include "wire/call.h"

namespace textmill::wire {

/// The operation's input: labels, query, headers and body by its shape, not yet validated (validate.h). A payload that
/// is a blob is left in the request. Throws Fault.
Value decode(const Call& call, const http::Request& request);

/// The answer. `output` by the operation's output shape, null for none; a payload that is a blob is left for the caller to set.
http::Response encode(const Call& call, const Value& output, std::string_view request_id);

/// `resource`: the path, which S3's errors name.
http::Response encode_fault(const Call& call, const Fault& fault, std::string_view resource,
                            std::string_view request_id);

}  // namespace textmill::wire
