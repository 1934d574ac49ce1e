#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace textmill::records {

/// Who owns what the ARNs name.
struct Account {
  std::string id = "123456789012", region = "us-east-1";
};

struct Transition {
  std::string_view from, to;
};

/// All that the engine has to know of a kind of resource. In texts, {name} and {arn} are put in.
struct Kind {
  std::string_view name;      // of its rows; never changes
  std::string_view arn;       // "sagemaker:{region}:{account}:model/{name}"
  bool any_case = false;      // names that differ in case alone are one name; ARNs have it in lower case
  bool arn_as_named = false;  // no: ARNs have it as it was given
  base::Kind missing, taken;  // the errors
  std::string_view missing_text, taken_text;
  std::string_view defaults = "{}";  // members of a body that was created without them
  std::string_view status = "";      // at first
  std::span<const Transition> transitions = {};
  size_t max_tags = 50;
};

/// A name as rows and ARNs have it.
std::string key_of(const Kind& kind, std::string_view name);

/// "arn:aws:sagemaker:us-east-1:123456789012:model/x"
std::string arn(const Kind& kind, const Account& account, std::string_view name);
/// The name in an ARN of this kind, or empty.
std::string name_in_arn(const Kind& kind, const Account& account, std::string_view arn);

/// All kinds. A row here is all that a kind needs which is only stored.
extern const Kind kModel, kEndpointConfig, kEndpoint, kReplica, kTrainingJob, kLogGroup, kRole, kPolicy;
std::span<const Kind* const> kinds();

}  // namespace textmill::records
