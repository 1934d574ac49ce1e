#pragma once

#include <string>
#include <string_view>

#include "http/message.h"
#include "wire/fault.h"
#include "wire/shapes.h"

namespace textmill::wire {

/// Fields of a form that are read.
inline constexpr size_t kMostFormFields = 100'000;

/// Which operation of which service a request asks for, and in which protocol the answer must be.
struct Call {
  const Service* service = nullptr;  // null: none that the models know
  const Operation* operation =
      nullptr;  // null: none that the models know, or named in a form that is yet to come
  Protocol protocol = Protocol::rest_xml;
  std::string name;      // of the operation (or else of the service) as the request has it; for errors
  bool in_form = false;  // the operation's name is in the body
};

/// From the head alone: X-Amz-Target, then a form, then method and path of the service that the signature's scope
/// names, or of S3. `signing_name`: Claim::scope's service; empty without a signature.
Call find_call(const http::Request& head, std::string_view signing_name);

/// Fills in what the form says, if it is in the form. Throws as document() does.
void find_action(Call& call, const http::Request& request);

/// Throws Fault, in the words of the call's service, unless there is an operation.
void require_operation(const Call& call);

/// The answer to an operation that the models know and nobody here serves.
Fault unsupported(const Operation& operation);

/// True if the operation changes nothing: Get..., List..., Describe..., Head... and their like.
bool only_reads(std::string_view operation);

/// A path's labels by name, decoded: "/b/x%2Fy" of "/{Bucket}/{Key+}" is {Bucket: b, Key: x/y}. An empty object when
/// the path has none; null if it is not of this form.
Value match_path(std::string_view pattern, std::string_view path);

}  // namespace textmill::wire
