#include <fmt/format.h>

#include "api/exchange.h"
#include "wire/times.h"

namespace textmill::api {

namespace {

Value credentials(const Session& session) {
  return Value::object({{"AccessKeyId", session.credentials.access_key},
                        {"SecretAccessKey", session.credentials.secret},
                        {"SessionToken", session.credentials.token},
                        {"Expiration", wire::to_seconds(session.expires)}});
}

Value get_caller_identity(Exchange& ex) {
  return Value::object(
      {{"UserId", ex.caller.id}, {"Account", ex.platform.account().id}, {"Arn", ex.caller.arn}});
}

// Roles are names: the session has the rights of the key that asked for it, never more.
Value assume_role(Exchange& ex) {
  std::string arn = ex.text("RoleArn");
  if (!arn.starts_with("arn:aws") || arn.find(":iam::") == arn.npos || arn.find(":role/") == arn.npos ||
      arn.ends_with('/'))
    throw base::Error(base::Kind::invalid, fmt::format("{} is invalid", arn));
  auto session =
      ex.platform.keys.open_session(ex.caller, arn.substr(arn.rfind('/') + 1), ex.text("RoleSessionName"),
                                    std::chrono::seconds(ex.integer("DurationSeconds", 3600)));
  return Value::object({{"Credentials", credentials(session)},
                        {"AssumedRoleUser", Value::object({{"AssumedRoleId", session.caller.id},
                                                           {"Arn", session.caller.arn}})}});
}

Value get_session_token(Exchange& ex) {
  auto session = ex.platform.keys.open_session(ex.caller, fmt::format("textmill-{}", name(ex.caller.role)),
                                               ex.caller.name,
                                               std::chrono::seconds(ex.integer("DurationSeconds", 43200)));
  return Value::object({{"Credentials", credentials(session)}});
}

constexpr Operation kOperations[] = {
    {"GetCallerIdentity", Role::read, get_caller_identity},
    {"AssumeRole", Role::read, assume_role},
    {"GetSessionToken", Role::read, get_session_token},
};

}  // namespace

constexpr Family kSts{"sts", kOperations};

}  // namespace textmill::api
