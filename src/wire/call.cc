#include "wire/call.h"

#include <fmt/format.h>

#include <algorithm>

#include "wire/document.h"
#include "wire/uri.h"

namespace textmill::wire {
namespace {

/// The first segment of `path` ("/a/b": "a"), taken off it. False at the end.
bool next_segment(std::string_view& path, std::string_view& segment) {
  if (path.empty()) return false;
  path.remove_prefix(1);
  segment = path.substr(0, path.find('/'));
  path.remove_prefix(segment.size());
  return true;
}

/// Calls `label(name, text)` for each label; false if the path is not of this form.
template <class Label>
bool walk_path(std::string_view pattern, std::string_view path, Label label) {
  if (path.empty() || path.front() != '/') return false;
  std::string_view want, have;
  while (next_segment(pattern, want)) {
    bool greedy = want.ends_with("+}");
    if (greedy) {
      have = path.substr(std::min<size_t>(1, path.size()));
      path = {};
    } else if (!next_segment(path, have)) {
      return false;
    }
    if (!want.starts_with('{')) {
      if (want != have) return false;
      continue;
    }
    if (have.empty()) return false;
    label(want.substr(1, want.size() - (greedy ? 3 : 2)), have);
  }
  return path.empty() || path == "/";
}

bool meets(const http::Request& head, const Parameters& query, const Condition& condition) {
  auto presigned = [&] { return head.query().find("Signature=") != std::string_view::npos; };
  if (condition.location == Location::header)  // presigned, it may stand in the query
    return head.headers.find(condition.name) ||
           (presigned() && std::ranges::any_of(query, [&](const auto& parameter) {
              return http::same_name(parameter.first, condition.name);
            }));
  return std::ranges::any_of(query, [&](const auto& parameter) {
    return condition.name == parameter.first &&
           (condition.value.empty() || condition.value == parameter.second);
  });
}

const Operation* find_route(const Service& service, const http::Request& head) {
  Parameters query = parse_query(head.query());
  for (uint16_t index : service.routes()) {
    const Operation& candidate = operation(index);
    if (candidate.method == head.method && walk_path(candidate.path, head.path(), [](auto, auto) {}) &&
        std::ranges::all_of(candidate.conditions(),
                            [&](const Condition& c) { return meets(head, query, c); })) {
      return &candidate;
    }
  }
  return nullptr;
}

const Service* service_signed_as(std::string_view signing_name, bool rest) {
  for (const Service& service : services()) {
    bool is_rest = service.protocol == Protocol::rest_json || service.protocol == Protocol::rest_xml;
    if (service.signing_name == signing_name && is_rest == rest) return &service;
  }
  return nullptr;
}

bool is_form(const http::Request& head) {
  return head.method == "POST" &&
         head.headers.get("content-type").starts_with("application/x-www-form-urlencoded");
}

Call call_by_target(std::string_view target) {
  Call call{.protocol = Protocol::json, .name = std::string(target)};
  auto dot = target.rfind('.');
  if (dot == target.npos) return call;
  for (const Service& service : services()) {
    if (service.target.empty() || service.target != target.substr(0, dot)) continue;
    call.service = &service;
    call.name = target.substr(dot + 1);
    call.operation = service.find(call.name);
  }
  return call;
}

}  // namespace

Call find_call(const http::Request& head, std::string_view signing_name) {
  if (auto target = head.headers.find("x-amz-target")) return call_by_target(*target);
  if (auto smithy = head.headers.find("smithy-protocol")) {
    return {.service = service_signed_as(signing_name, false),
            .protocol = Protocol::json,
            .name = fmt::format("smithy-protocol {}", *smithy)};
  }
  bool s3 = signing_name == "s3";
  bool action = head.method == "GET" && (head.query().starts_with("Action=") ||
                                         head.query().find("&Action=") != std::string_view::npos);
  if (!s3 && (is_form(head) || action)) {
    return {.service = service_signed_as(signing_name, false),
            .protocol = Protocol::query,
            .name = std::string(signing_name),
            .in_form = true};
  }
  const Service* service = signing_name.empty() ? find_service("s3") : service_signed_as(signing_name, true);
  if (!service) service = service_signed_as(signing_name, false);
  Call call{.service = service,
            .protocol = service ? service->protocol : Protocol::rest_json,
            .name = fmt::format("{} {} {}", signing_name, head.method, head.path())};
  if (service) {
    call.operation = find_route(*service, head);
    call.name = call.operation ? std::string(call.operation->name.view())
                               : fmt::format("{} {}", head.method, head.path());
  }
  return call;
}

void find_action(Call& call, const http::Request& request) {
  if (!call.in_form) return;
  const bool signed_by_nobody = call.name.empty();
  std::string unpacked;
  for (auto& [name, value] : parse_query(
           request.method == "GET" ? request.query() : document(request, unpacked), kMostFormFields)) {
    if (name == "Action") call.name = std::move(value);
  }
  for (const Service& service : services())
    if (signed_by_nobody && !call.service && service.protocol == Protocol::query && service.find(call.name))
      call.service = &service;
  if (call.service) call.operation = call.service->find(call.name);
}

void require_operation(const Call& call) {
  if (call.operation) return;
  if (!call.service)
    throw Fault("UnsupportedOperation", 400, fmt::format("\"{}\": no service that is known here", call.name));
  if (call.name.starts_with("smithy-protocol"))
    throw Fault("UnsupportedOperation", 400,
                fmt::format("\"{}\" is not spoken here; JSON and, of older clients, the query protocol are",
                            call.name));
  switch (call.protocol) {
    case Protocol::query:
      throw Fault(
          "InvalidAction", 400,
          fmt::format("Could not find operation {} for version {}", call.name, call.service->version.view()));
    case Protocol::rest_xml:
      throw Fault("MethodNotAllowed", 405, "The specified method is not allowed against this resource.");
    case Protocol::rest_json:  // services share the name that they sign with: which was meant is not known
      throw Fault("UnsupportedOperation", 400,
                  fmt::format("{}: \"{}\" is not served here", call.service->signing_name.view(), call.name));
    default:
      throw Fault("UnknownOperationException", 400,
                  fmt::format("The service {} has no operation \"{}\"", call.service->id.view(), call.name));
  }
}

Fault unsupported(const Operation& operation) {
  return {"UnsupportedOperation", 400,
          fmt::format("{}:{} is not served here", operation.service().id.view(), operation.name.view())};
}

bool only_reads(std::string_view operation) {
  static constexpr std::string_view kVerbs[] = {"Get",    "List",     "Describe",     "Head",     "Search",
                                                "Filter", "Query",    "Test",         "Simulate", "Render",
                                                "Select", "BatchGet", "BatchDescribe"};
  return std::ranges::any_of(kVerbs, [&](std::string_view verb) { return operation.starts_with(verb); });
}

Value match_path(std::string_view pattern, std::string_view path) {
  Value labels = Value::object({});
  bool fits = walk_path(pattern, path, [&](std::string_view name, std::string_view text) {
    labels.set(name, percent_decode(text, false));
  });
  return fits ? labels : Value();
}

}  // namespace textmill::wire
