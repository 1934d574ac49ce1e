#include "records/kind.h"

#include <fmt/args.h>
#include <fmt/format.h>

#include "base/spelling.h"

namespace textmill::records {

constexpr Kind kModel{
    .name = "model",
    .arn = "sagemaker:{region}:{account}:model/{name}",
    .any_case = true,
    .missing = base::Kind::invalid,
    .taken = base::Kind::invalid,
    .missing_text = "Could not find model \"{arn}\".",
    .taken_text = "Cannot create already existing model \"{arn}\".",
    .defaults = R"({"EnableNetworkIsolation": false})",
};

constexpr Kind kEndpointConfig{
    .name = "endpoint-config",
    .arn = "sagemaker:{region}:{account}:endpoint-config/{name}",
    .any_case = true,
    .missing = base::Kind::invalid,
    .taken = base::Kind::invalid,
    .missing_text = "Could not find endpoint configuration \"{arn}\".",
    .taken_text = "Cannot create already existing endpoint configuration \"{arn}\".",
    .defaults = R"({"EnableNetworkIsolation": false})",
};

namespace {

constexpr Transition kEndpointTransitions[] = {
    {"Creating", "InService"}, {"Creating", "Failed"}, {"Creating", "Deleting"},
    {"InService", "Deleting"}, {"Failed", "Deleting"},
};

// A program that serves a variant: Starting until its first good /ping; Stopping until it is gone.
constexpr Transition kReplicaTransitions[] = {
    {"Starting", "Ready"}, {"Starting", "Stopping"}, {"Ready", "Stopping"}};

constexpr Transition kJobTransitions[] = {
    {"InProgress", "Completed"}, {"InProgress", "Failed"},  {"InProgress", "Stopping"},
    {"InProgress", "Stopped"},  // by its own limits
    {"Stopping", "Stopped"},     {"Stopping", "Completed"}, {"Stopping", "Failed"},
};

}  // namespace

constexpr Kind kEndpoint{
    .name = "endpoint",
    .arn = "sagemaker:{region}:{account}:endpoint/{name}",
    .any_case = true,
    .missing = base::Kind::invalid,
    .taken = base::Kind::invalid,
    .missing_text = "Could not find endpoint \"{arn}\".",
    .taken_text = "Cannot create already existing endpoint \"{arn}\".",
    .status = "Creating",
    .transitions = kEndpointTransitions,
};

constexpr Kind kReplica{
    .name = "replica",
    .arn = "sagemaker:{region}:{account}:endpoint-instance/{name}",
    .missing = base::Kind::not_found,
    .taken = base::Kind::exists,
    .missing_text = "There is no instance {name}.",
    .taken_text = "There is an instance {name} already.",
    .status = "Starting",
    .transitions = kReplicaTransitions,
};

constexpr Kind kTrainingJob{
    .name = "training-job",
    .arn = "sagemaker:{region}:{account}:training-job/{name}",
    .any_case = true,
    .missing = base::Kind::invalid,
    .taken = base::Kind::in_use,
    .missing_text = "Requested resource not found.",
    .taken_text =
        "Training job names must be unique within an AWS account and region, and a training job with "
        "this name already exists ({arn})",
    .defaults = R"({"EnableNetworkIsolation": false, "EnableInterContainerTrafficEncryption": false,
                    "EnableManagedSpotTraining": false})",
    .status = "InProgress",
    .transitions = kJobTransitions,
};

constexpr Kind kLogGroup{
    .name = "log-group",
    .arn = "logs:{region}:{account}:log-group:{name}",
    .missing = base::Kind::not_found,
    .taken = base::Kind::exists,
    .missing_text = "The specified log group does not exist.",
    .taken_text = "The specified log group already exists",
};

constexpr Kind kRole{
    .name = "role",
    .arn = "iam::{account}:role/{name}",
    .any_case = true,
    .arn_as_named = true,
    .missing = base::Kind::not_found,
    .taken = base::Kind::exists,
    .missing_text = "The role with name {name} cannot be found.",
    .taken_text = "Role with name {name} already exists.",
};

constexpr Kind kPolicy{
    .name = "policy",
    .arn = "iam::{account}:policy/{name}",
    .any_case = true,
    .arn_as_named = true,
    .missing = base::Kind::not_found,
    .taken = base::Kind::exists,
    .missing_text = "Policy {arn} does not exist or is not attachable.",
    .taken_text = "A policy called {name} already exists.",
};

std::span<const Kind* const> kinds() {
  static constexpr const Kind* kAll[] = {&kModel,    &kEndpointConfig, &kEndpoint, &kTrainingJob,
                                         &kLogGroup, &kRole,           &kPolicy};
  return kAll;
}

namespace {

std::string prefix(const Kind& kind, const Account& account) {
  return "arn:aws:" + fmt::format(fmt::runtime(kind.arn), fmt::arg("region", account.region),
                                  fmt::arg("account", account.id), fmt::arg("name", ""));
}

}  // namespace

std::string key_of(const Kind& kind, std::string_view name) {
  return kind.any_case ? base::lower_case(name) : std::string(name);
}

std::string arn(const Kind& kind, const Account& account, std::string_view name) {
  return prefix(kind, account) + (kind.arn_as_named ? std::string(name) : key_of(kind, name));
}

std::string name_in_arn(const Kind& kind, const Account& account, std::string_view arn) {
  std::string before = prefix(kind, account);
  return arn.starts_with(before) ? std::string(arn.substr(before.size())) : std::string();
}

}  // namespace textmill::records
