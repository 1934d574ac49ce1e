#pragma once

#include <string>

#include "base/error.h"
#include "format/json.h"
#include "wire/shapes.h"

namespace textmill::wire {

/// A request's input or an answer: structures and maps are objects; a blob is a string of its bytes, a timestamp the
/// seconds since the epoch. Which is which, the shape knows.
using Value = format::Json;

/// An error with the code that a client of AWS looks for.
class Fault : public base::Error {
 public:
  /// `details`: an object of what the error says beside its message.
  Fault(std::string code, int status, const std::string& message, Value details = {});
  const std::string& code() const { return code_; }
  int status() const { return status_; }
  const Value& details() const { return details_; }

 private:
  std::string code_;
  int status_;
  Value details_;
};

/// What a service calls an input that its shapes forbid.
Fault validation_fault(const Service& service, const std::string& message);

/// The one map from kinds of errors to a service's codes; a Fault stays as it is. Null: no service of ours.
Fault fault_of(const base::Error& error, const Service* service);

}  // namespace textmill::wire
