#pragma once

#include <map>
#include <memory>
#include <shared_mutex>
#include <string_view>

#include "wire/call.h"

namespace re2 {
class RE2;
}

namespace textmill::wire {

/// Checks inputs against the models: what is required, lengths, ranges, patterns, enums. For any thread.
class Validator {
 public:
  Validator();
  ~Validator();

  /// Throws Fault with the service's code and AWS's words, all violations in one message: "1 validation error detected:
  /// Value '' at 'modelName' failed to satisfy constraint: Member must have length greater than or equal to 1".
  /// S3 says it its own way: MalformedXML, InvalidArgument.
  void check(const Operation& operation, const Value& input) const;

 private:
  class Walk;
  bool matches(const Shape& shape, std::string_view text) const;

  mutable std::shared_mutex mutex_;
  mutable std::map<uint32_t, std::unique_ptr<re2::RE2>> patterns_;  // compiled at first use
};

}  // namespace textmill::wire
