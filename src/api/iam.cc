#include <fmt/format.h>

#include <algorithm>

#include "api/stored.h"
#include "base/hash.h"
#include "wire/times.h"
#include "wire/uri.h"

// Roles and policies are kept and shown; who may do what is decided by access keys alone.

namespace textmill::api {

namespace {

using records::kPolicy, records::kRole;

std::string id_of(std::string_view prefix, std::string_view name) {
  std::string id = base::sha256_hex(name).substr(0, 17);
  std::ranges::transform(id, id.begin(), [](char c) { return static_cast<char>(std::toupper(c)); });
  return std::string(prefix) + id;
}

std::string path_of(const records::Resource& resource) { return text_in(resource.body, "Path", "/"); }

Value role_document(Exchange& ex, const records::Resource& role) {
  Value out = Value::object({{"Path", path_of(role)},
                             {"RoleName", role.name},
                             {"RoleId", id_of("AROA", role.name)},
                             {"Arn", ex.platform.resources.arn(kRole, path_of(role).substr(1) + role.name)},
                             {"CreateDate", wire::to_seconds(role.created)}});
  if (const Value* policy = role.body.find("AssumeRolePolicyDocument"))
    out.set("AssumeRolePolicyDocument", wire::percent_encode(*policy->string(), true));
  for (const char* member : {"Description", "MaxSessionDuration"})
    if (const Value* value = role.body.find(member)) out.set(member, *value);
  return out;
}

/// With its tags, as GetRole has it.
Value whole_role(Exchange& ex, store::Connection& c, const records::Resource& role) {
  Value out = role_document(ex, role);
  auto tags = ex.platform.resources.tags(c, role.id);
  if (!tags.empty()) out.set("Tags", tag_list(tags));
  return out;
}

// Every role that is asked for exists: clients turn names into ARNs this way, and rights do not come from roles. It gets its
// row when something of it is to be kept.

/// The role of the request, to be changed.
records::Resource role_to_change(Exchange& ex, store::Connection& c) {
  const auto& resources = ex.platform.resources;
  auto found = resources.find(c, kRole, ex.text("RoleName"));
  return found ? *found
               : resources.create(c, kRole, {.name = ex.text("RoleName"), .body = Value::object({})});
}

/// Kept as it came; but JSON it must be.
void check_policy(const std::string& text) {
  try {
    if (format::parse_json(text, "policy").object()) return;
  } catch (const base::Error&) {  // the same answer as for JSON that is no object
  }
  throw wire::Fault("MalformedPolicyDocument", 400, "This policy contains invalid Json");
}

Value create_role(Exchange& ex) {
  check_policy(ex.text("AssumeRolePolicyDocument"));
  records::NewResource wanted{
      .name = ex.text("RoleName"), .body = Value::object({}), .tags = tags_in(ex.list("Tags"))};
  for (const char* member : {"Path", "AssumeRolePolicyDocument", "Description", "MaxSessionDuration"})
    if (const Value* value = ex.find(member)) wanted.body.set(member, *value);
  return Value::object({{"Role", ex.write([&](store::Connection& c) {
                           return whole_role(ex, c, ex.platform.resources.create(c, kRole, wanted));
                         })}});
}

Value create_service_linked_role(Exchange& ex) {
  std::string service = ex.text("AWSServiceName"), first = service.substr(0, service.find('.'));
  std::string suffix = ex.text("CustomSuffix");
  records::NewResource wanted{
      .name = fmt::format("AWSServiceRoleFor{}{}{}", first, suffix.empty() ? "" : "_", suffix),
      .body = Value::object({{"Path", fmt::format("/aws-service-role/{}/", service)}})};
  if (const Value* description = ex.find("Description")) wanted.body.set("Description", *description);
  auto role = ex.write([&](store::Connection& c) { return ex.platform.resources.create(c, kRole, wanted); });
  return Value::object({{"Role", role_document(ex, role)}});
}

/// Members of the input become the role's, as one fact.
void update(Exchange& ex, std::initializer_list<std::pair<const char*, const char*>> members) {
  ex.write([&](store::Connection& c) {
    auto role = role_to_change(ex, c);
    for (auto [member, kept] : members)
      if (const Value* value = ex.find(member)) role.body.set(kept, *value);
    ex.platform.resources.update(c, role);
  });
}

Value update_role(Exchange& ex) {
  update(ex, {{"Description", "Description"}, {"MaxSessionDuration", "MaxSessionDuration"}});
  return Value::object({});  // the model has an output, without members
}

Value update_assume_role_policy(Exchange& ex) {
  check_policy(ex.text("PolicyDocument"));
  update(ex, {{"PolicyDocument", "AssumeRolePolicyDocument"}});
  return {};
}

Value tag_role(Exchange& ex) {
  auto tags = tags_in(ex.list("Tags"));
  ex.write([&](store::Connection& c) {
    ex.platform.resources.add_tags(c, kRole, role_to_change(ex, c).id, tags);
  });
  return {};
}

Value untag_role(Exchange& ex) {
  std::vector<std::string> keys;
  for (const Value& key : ex.list("TagKeys")) keys.push_back(*key.string());
  ex.write(
      [&](store::Connection& c) { ex.platform.resources.remove_tags(c, role_to_change(ex, c).id, keys); });
  return {};
}

Value list_role_tags(Exchange& ex) {
  auto tags = ex.read([&](store::Connection& c) {
    auto role = ex.platform.resources.find(c, kRole, ex.text("RoleName"));
    return role ? tag_list(ex.platform.resources.tags(c, role->id)) : Value(Value::Array{});
  });
  return Value::object({{"Tags", std::move(tags)}, {"IsTruncated", false}});
}

Value get_role(Exchange& ex) {
  std::string name = ex.text("RoleName");
  return Value::object({{"Role", ex.read([&](store::Connection& c) {
                           auto role = ex.platform.resources.find(c, kRole, name);
                           return role ? whole_role(ex, c, *role)
                                       : role_document(ex, {.name = name, .body = Value::object({})});
                         })}});
}

/// A page of all that there is of a kind.
Value list(Exchange& ex, const records::Kind& kind, std::string_view member,
           Value (*document)(Exchange&, const records::Resource&)) {
  records::ListQuery query{.sort = records::SortBy::name,
                           .descending = false,
                           .limit = static_cast<size_t>(ex.integer("MaxItems", 100)),
                           .token = ex.text("Marker"),
                           .scope = ex.call.name,
                           .bodies = true};
  auto page = ex.read([&](store::Connection& c) { return ex.platform.resources.list(c, kind, query); });
  Value::Array documents;
  for (const auto& resource : page.resources)
    if (path_of(resource).starts_with(ex.text("PathPrefix"))) documents.push_back(document(ex, resource));
  Value out =
      Value::object({{std::string(member), std::move(documents)}, {"IsTruncated", !page.next.empty()}});
  if (!page.next.empty()) out.set("Marker", page.next);
  return out;
}

Value list_roles(Exchange& ex) { return list(ex, kRole, "Roles", role_document); }

Value delete_role(Exchange& ex) {
  ex.write([&](store::Connection& c) {
    auto role = ex.platform.resources.get(c, kRole, ex.text("RoleName"));
    for (const char* member : {"Attached", "Policies"})
      if (const Value* held = role.body.find(member); held && !held->object()->empty())
        throw base::Error(base::Kind::conflict, "Cannot delete entity, must detach all policies first.");
    ex.platform.resources.remove(c, kRole, role.name);
  });
  return {};
}

/// A role's map of policies: "Attached" (ARN to nothing) or "Policies" (name to document), changed as one fact.
void change(Exchange& ex, std::string_view map, const std::string& key, std::optional<std::string> value) {
  ex.write([&](store::Connection& c) {
    auto role = role_to_change(ex, c);
    Value::Object kept;
    bool found = false;
    if (const Value* held = role.body.find(map))
      for (const auto& member : *held->object())
        member.name == key ? void(found = true) : kept.push_back(member);
    if (!value && !found)
      throw base::Error(base::Kind::not_found,
                        fmt::format("The role with name {} has no policy {}.", role.name, key));
    if (value) kept.push_back({key, *value});
    role.body.set(map, std::move(kept));
    ex.platform.resources.update(c, role);
  });
}

Value::Object held(Exchange& ex, std::string_view map) {
  auto role = ex.read(
      [&](store::Connection& c) { return ex.platform.resources.find(c, kRole, ex.text("RoleName")); });
  const Value* value = role ? role->body.find(map) : nullptr;
  return value ? *value->object() : Value::Object{};
}

Value attach_role_policy(Exchange& ex) { return change(ex, "Attached", ex.text("PolicyArn"), ""), Value(); }
Value detach_role_policy(Exchange& ex) { return change(ex, "Attached", ex.text("PolicyArn"), {}), Value(); }
Value put_role_policy(Exchange& ex) {
  check_policy(ex.text("PolicyDocument"));
  return change(ex, "Policies", ex.text("PolicyName"), ex.text("PolicyDocument")), Value();
}
Value delete_role_policy(Exchange& ex) { return change(ex, "Policies", ex.text("PolicyName"), {}), Value(); }

Value list_attached_role_policies(Exchange& ex) {
  Value::Array policies;
  for (const auto& [arn, nothing] : held(ex, "Attached"))
    policies.push_back(Value::object({{"PolicyName", arn.substr(arn.rfind('/') + 1)}, {"PolicyArn", arn}}));
  return Value::object({{"AttachedPolicies", std::move(policies)}, {"IsTruncated", false}});
}

Value list_role_policies(Exchange& ex) {
  Value::Array names;
  for (const auto& [name, document] : held(ex, "Policies")) names.emplace_back(name);
  return Value::object({{"PolicyNames", std::move(names)}, {"IsTruncated", false}});
}

Value get_role_policy(Exchange& ex) {
  std::string wanted = ex.text("PolicyName");
  for (const auto& [name, document] : held(ex, "Policies"))
    if (name == wanted)
      return Value::object({{"RoleName", ex.text("RoleName")},
                            {"PolicyName", name},
                            {"PolicyDocument", wire::percent_encode(*document.string(), true)}});
  throw base::Error(base::Kind::not_found,
                    fmt::format("The role policy with name {} cannot be found.", wanted));
}

Value policy_document(Exchange& ex, const records::Resource& policy) {
  return Value::object({{"PolicyName", policy.name},
                        {"PolicyId", id_of("ANPA", policy.name)},
                        {"Arn", ex.platform.resources.arn(kPolicy, path_of(policy).substr(1) + policy.name)},
                        {"Path", path_of(policy)},
                        {"DefaultVersionId", "v1"},
                        {"IsAttachable", true},
                        {"CreateDate", wire::to_seconds(policy.created)},
                        {"UpdateDate", wire::to_seconds(policy.modified)}});
}

// AWS's own policies are not kept here.
Value list_policies(Exchange& ex) {
  if (ex.text("Scope") == "AWS") return Value::object({{"Policies", Value::Array{}}, {"IsTruncated", false}});
  return list(ex, kPolicy, "Policies", policy_document);
}

Value create_policy(Exchange& ex) {
  check_policy(ex.text("PolicyDocument"));
  records::NewResource wanted{
      .name = ex.text("PolicyName"),
      .body = Value::object({{"PolicyDocument", ex.text("PolicyDocument")}, {"Path", ex.text("Path", "/")}}),
      .tags = tags_in(ex.list("Tags"))};
  auto policy =
      ex.write([&](store::Connection& c) { return ex.platform.resources.create(c, kPolicy, wanted); });
  return Value::object({{"Policy", policy_document(ex, policy)}});
}

std::string policy_name(Exchange& ex) {
  std::string arn = ex.text("PolicyArn");
  if (arn.starts_with("arn:aws:iam::aws:"))
    throw base::Error(base::Kind::not_found,
                      fmt::format("Policy {} does not exist or is not attachable.", arn));
  return arn.substr(arn.rfind('/') + 1);
}

Value get_policy(Exchange& ex) {
  auto policy =
      ex.read([&](store::Connection& c) { return ex.platform.resources.get(c, kPolicy, policy_name(ex)); });
  return Value::object({{"Policy", policy_document(ex, policy)}});
}

Value get_policy_version(Exchange& ex) {
  auto policy =
      ex.read([&](store::Connection& c) { return ex.platform.resources.get(c, kPolicy, policy_name(ex)); });
  if (ex.text("VersionId") != "v1")
    throw base::Error(base::Kind::not_found, fmt::format("Policy {} version {} does not exist.",
                                                         ex.text("PolicyArn"), ex.text("VersionId")));
  return Value::object(
      {{"PolicyVersion",
        Value::object({{"Document", wire::percent_encode(text_in(policy.body, "PolicyDocument"), true)},
                       {"VersionId", "v1"},
                       {"IsDefaultVersion", true},
                       {"CreateDate", wire::to_seconds(policy.created)}})}});
}

// What the caller's key may do: roles and their policies decide nothing here.
Value simulate_principal_policy(Exchange& ex) {
  Value::Array results, everything{Value("*")};
  const auto& resources = ex.list("ResourceArns").empty() ? everything : ex.list("ResourceArns");
  for (const Value& action : ex.list("ActionNames")) {
    std::string_view name = *action.string();
    name.remove_prefix(std::min(name.find(':') + 1, name.size()));
    bool allowed = ex.caller.role >= Role::write || wire::only_reads(name);
    for (const Value& resource : resources)
      results.push_back(Value::object({{"EvalActionName", action},
                                       {"EvalResourceName", resource},
                                       {"EvalDecision", allowed ? "allowed" : "implicitDeny"}}));
  }
  return Value::object({{"EvaluationResults", std::move(results)}, {"IsTruncated", false}});
}

Value delete_policy(Exchange& ex) {
  ex.write([&](store::Connection& c) { ex.platform.resources.remove(c, kPolicy, policy_name(ex)); });
  return {};
}

constexpr Operation kOperations[] = {
    {"CreateRole", Role::write, create_role, Effect::stored},
    {"GetRole", Role::read, get_role},
    {"ListRoles", Role::read, list_roles},
    {"DeleteRole", Role::write, delete_role},
    {"CreateServiceLinkedRole", Role::write, create_service_linked_role, Effect::stored},
    {"UpdateRole", Role::write, update_role, Effect::stored},
    {"UpdateAssumeRolePolicy", Role::write, update_assume_role_policy, Effect::stored},
    {"TagRole", Role::write, tag_role},
    {"UntagRole", Role::write, untag_role},
    {"ListRoleTags", Role::read, list_role_tags},
    {"AttachRolePolicy", Role::write, attach_role_policy, Effect::stored},
    {"DetachRolePolicy", Role::write, detach_role_policy},
    {"ListAttachedRolePolicies", Role::read, list_attached_role_policies},
    {"PutRolePolicy", Role::write, put_role_policy, Effect::stored},
    {"GetRolePolicy", Role::read, get_role_policy},
    {"DeleteRolePolicy", Role::write, delete_role_policy},
    {"ListRolePolicies", Role::read, list_role_policies},
    {"CreatePolicy", Role::write, create_policy, Effect::stored},
    {"GetPolicy", Role::read, get_policy},
    {"GetPolicyVersion", Role::read, get_policy_version},
    {"ListPolicies", Role::read, list_policies},
    {"SimulatePrincipalPolicy", Role::read, simulate_principal_policy},
    {"DeletePolicy", Role::write, delete_policy},
};

}  // namespace

constexpr Family kIam{"iam", kOperations};

}  // namespace textmill::api
