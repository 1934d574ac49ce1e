#include "wire/codec.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/utf8.h"
#include "wire/document.h"
#include "wire/tree.h"

namespace textmill::wire {

using http::Request;
using http::Response;

namespace {

constexpr std::string_view kXmlHead = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// Bodies are checked by their parsers; this is for what travels outside of them.
void check_utf8(const Member& member, std::string_view text) {
  if (base::invalid_utf8(text))
    throw base::Error(base::Kind::invalid, fmt::format("{}: not UTF-8", member.wire.view()));
}

Value scalar(const Member& member, std::string_view text) {
  auto value = scalar_from_text(member.shape(), text);
  if (!value)
    throw base::Error(base::Kind::invalid,
                      fmt::format("{}: '{}' is no {}", member.wire.view(), text, name_of(member.shape())));
  return std::move(*value);
}

/// x-amz-meta-a: 1 of "x-amz-meta-".
Value prefixed_headers(std::string_view prefix, const http::Headers& headers) {
  Value out = Value::object({});
  for (const auto& [name, value] : headers) {
    if (name.size() <= prefix.size() ||
        !http::same_name(std::string_view(name).substr(0, prefix.size()), prefix))
      continue;
    std::string key = name.substr(prefix.size());
    std::ranges::transform(key, key.begin(),
                           [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    const Value* before = out.find(key);
    out.set(key, before ? *before->string() + "," + value : value);
  }
  return out;
}

/// A list in one header or query parameter.
Value separated(const Member& member, std::string_view text) {
  Value::Array items;
  while (!text.empty()) {
    auto item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    while (item.starts_with(' ')) item.remove_prefix(1);
    items.emplace_back(item);
  }
  TEXTMILL_CHECK(member.shape().members()[0].shape().type == Type::string);
  return items;
}

Value outside_body(const Call& call, const Request& request) {
  const Operation& operation = *call.operation;
  Value out = match_path(operation.path, request.path());
  for (const auto& [label, value] : *out.object()) {
    if (!base::invalid_utf8(*value.string())) continue;
    if (call.protocol == Protocol::rest_xml)
      throw Fault("InvalidURI", 400, "Couldn't parse the specified URI.");
    throw base::Error(base::Kind::invalid, fmt::format("{}: not UTF-8", label));
  }
  Parameters query = parse_query(request.query());
  for (const Member& member : operation.input().members()) {
    std::optional<std::string_view> text;
    if (member.location == Location::header) text = request.headers.find(member.wire.view());
    if (member.location == Location::query) {
      auto found = std::ranges::find(query, member.wire.view(),
                                     [](const auto& p) { return std::string_view(p.first); });
      if (found != query.end()) text = found->second;
    }
    if (text) {
      check_utf8(member, *text);
      // A condition that is no date says nothing (RFC 9110, 13.1.3).
      bool condition = member.shape().type == Type::timestamp && member.wire.view().starts_with("If-");
      if (condition && !scalar_from_text(member.shape(), *text)) continue;
      out.set(member.name.view(),
              member.shape().type == Type::list ? separated(member, *text) : scalar(member, *text));
    } else if (member.location == Location::headers) {
      Value headers = prefixed_headers(member.wire, request.headers);
      for (const auto& [name, value] : *headers.object()) check_utf8(member, *value.string());
      if (!headers.object()->empty()) out.set(member.name.view(), std::move(headers));
    }
  }
  return out;
}

/// Throws Fault{SerializationException} where it is no JSON.
Value parse_json(std::string_view text) {
  try {
    return format::parse_json(text, "request");
  } catch (const base::Error& error) { throw Fault("SerializationException", 400, error.what()); }
}

Value parse_document(Protocol protocol, const Shape& shape, std::string_view text) {
  if (protocol == Protocol::rest_xml) return from_xml(shape, text);
  Value out = text.empty() ? Value::object({}) : parse_json(text);
  adopt_json(shape, out, {});
  return out;
}

Value decode_rest(const Call& call, const Request& request) {
  const Shape& shape = call.operation->input();
  Value out = outside_body(call, request);
  const Member* payload = shape.payload();
  bool in_body =
      std::ranges::any_of(shape.members(), [](const Member& m) { return m.location == Location::body; });
  if (!in_body || request.body.size() == 0 || (payload && payload->shape().type == Type::blob)) return out;
  std::string unpacked;
  auto text = document(request, unpacked);
  if (payload && payload->shape().type == Type::string) {
    check_utf8(*payload, text);
    out.set(payload->name.view(), text);
  } else if (payload) {
    out.set(payload->name.view(), parse_document(call.protocol, payload->shape(), text));
  } else {
    Value body = parse_document(call.protocol, shape, text);
    for (auto& [name, value] : *body.object()) out.set(name, std::move(value));
  }
  return out;
}

void put_header(Response& response, const Member& member, const Value& value) {
  const Shape& shape = member.shape();
  if (member.location == Location::headers) {
    for (const auto& [name, entry] : *value.object())
      response.headers.add(std::string(member.wire.view()) + name, *entry.string());
  } else if (shape.type == Type::list) {
    std::string all;
    for (const Value& item : *value.array()) all += (all.empty() ? "" : ", ") + *item.string();
    response.headers.set(std::string(member.wire.view()), std::move(all));
  } else if (!http::same_name(member.wire, "content-length")) {
    response.headers.set(std::string(member.wire.view()), scalar_to_text(shape, value, Times::http));
  }
}

/// What S3 calls the root of an answer; others are by the operation's name.
std::string root_name(const Operation& operation) {
  static constexpr std::pair<std::string_view, std::string_view> kNames[] = {
      {"ListObjects", "ListBucketResult"},
      {"ListObjectsV2", "ListBucketResult"},
      {"ListObjectVersions", "ListVersionsResult"},
      {"ListBuckets", "ListAllMyBucketsResult"},
      {"CreateMultipartUpload", "InitiateMultipartUploadResult"},
      {"DeleteObjects", "DeleteResult"},
      {"GetBucketTagging", "Tagging"},
      {"GetObjectTagging", "Tagging"},
      {"GetBucketVersioning", "VersioningConfiguration"},
      {"GetObjectAttributes", "GetObjectAttributesResponse"},
  };
  auto found = std::ranges::find(kNames, operation.name.view(), [](const auto& pair) { return pair.first; });
  return found != std::end(kNames) ? std::string(found->second)
                                   : std::string(operation.name.view()) + "Result";
}

std::string xml_document(const Service& service, std::string_view root, const Shape& shape,
                         const Value& value) {
  std::string out(kXmlHead);
  out += fmt::format("<{} xmlns=\"{}\">", root, service.xml_namespace.view());
  append_xml_members(out, shape, value);
  return out += fmt::format("</{}>", root);
}

Response encode_rest(const Call& call, const Value& output) {
  const Operation& operation = *call.operation;
  const Shape& shape = operation.output();
  Response response{.status = operation.status};
  bool in_body = false;
  for (const Member& member : shape.members()) {
    in_body |= member.location == Location::body;
    const Value* value = output.find(member.name);
    if (!value || value->is_null() || member.location == Location::body) continue;
    if (member.location == Location::status) {
      response.status = static_cast<int>(*value->integer());
    } else {
      put_header(response, member, *value);
    }
  }
  const Member* payload = shape.payload();
  const Value* inside = payload ? output.find(payload->name) : nullptr;
  if (!in_body || (payload && (payload->shape().type != Type::structure || !inside))) {
    if (payload && payload->shape().type == Type::string && inside) response.body = *inside->string();
    return response;
  }
  const Shape& body_shape = payload ? payload->shape() : shape;
  const Value& body = payload ? *inside : output;
  if (call.protocol == Protocol::rest_xml) {
    response.headers.set("Content-Type", "application/xml");
    response.body = xml_document(
        *call.service, payload ? std::string(payload->wire.view()) : root_name(operation), body_shape, body);
  } else {
    std::string text;
    append_json(text, body_shape, body);
    response.headers.set("Content-Type", "application/json");
    response.body = std::move(text);
  }
  return response;
}

Response encode_query(const Call& call, const Value& output, std::string_view request_id) {
  auto name = call.operation->name.view();
  std::string out = fmt::format("<{}Response xmlns=\"{}\">", name, call.service->xml_namespace.view());
  // Also when it has no members: clients look for it wherever the model has an output.
  if (!output.is_null()) {
    out += fmt::format("<{}Result>", name);
    append_xml_members(out, call.operation->output(), output);
    out += fmt::format("</{}Result>", name);
  }
  out += fmt::format("<ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></{}Response>",
                     request_id, name);
  return {.headers = {{"Content-Type", "text/xml"}}, .body = std::move(out)};
}

std::string json_type(const Service* service) {
  return fmt::format("application/x-amz-json-{}", service ? service->json_version.view() : "1.1");
}

void name_request(Response& response, const Call& call, std::string_view request_id) {
  bool s3 = call.protocol == Protocol::rest_xml;
  response.headers.set(s3 ? "x-amz-request-id" : "x-amzn-RequestId", std::string(request_id));
}

Response json_fault(const Call& call, const Fault& fault) {
  std::string type = fault.code();
  if (call.service) {
    auto errors = call.service->errors();
    auto found =
        std::ranges::find(errors, type, [](const ModelledError& e) { return std::string_view(e.code); });
    if (found != errors.end()) type = found->shape.view();
  }
  Value body = Value::object({{"__type", type},
                              {call.protocol == Protocol::rest_json ? "Message" : "message",
                               base::replace_invalid_utf8(fault.what())}});
  if (fault.details().object()) {
    for (const auto& [name, value] : *fault.details().object()) body.set(name, value);
  }
  Response response{
      .status = fault.status(), .headers = {{"x-amzn-ErrorType", type}}, .body = format::to_text(body)};
  response.headers.set("Content-Type",
                       call.protocol == Protocol::rest_json ? "application/json" : json_type(call.service));
  if (call.service && call.service->query_compatible) {
    response.headers.set("x-amzn-query-error",
                         fmt::format("{};{}", fault.code(), fault.status() < 500 ? "Sender" : "Receiver"));
  }
  return response;
}

std::string element(std::string_view name, std::string_view text) {
  std::string out = fmt::format("<{}>", name);
  append_xml_text(out, base::replace_invalid_utf8(text));
  return out += fmt::format("</{}>", name);
}

Response query_fault(const Call& call, const Fault& fault, std::string_view request_id) {
  std::string out =
      call.service ? fmt::format("<ErrorResponse xmlns=\"{}\"><Error>", call.service->xml_namespace.view())
                   : "<ErrorResponse><Error>";
  out += element("Type", fault.status() < 500 ? "Sender" : "Receiver") + element("Code", fault.code()) +
         element("Message", fault.what()) + "</Error>" + element("RequestId", request_id) +
         "</ErrorResponse>";
  return {.status = fault.status(), .headers = {{"Content-Type", "text/xml"}}, .body = std::move(out)};
}

Response s3_fault(const Fault& fault, std::string_view resource, std::string_view request_id) {
  if (fault.status() == 304) return {.status = 304};
  std::string out =
      std::string(kXmlHead) + "<Error>" + element("Code", fault.code()) + element("Message", fault.what());
  if (fault.details().object()) {
    for (const auto& [name, value] : *fault.details().object())
      out += element(name, value.string() ? *value.string() : format::to_text(value));
  }
  out += element("Resource", resource) + element("RequestId", request_id) + "</Error>";
  return {.status = fault.status(), .headers = {{"Content-Type", "application/xml"}}, .body = std::move(out)};
}

}  // namespace

Value decode(const Call& call, const Request& request) {
  const Shape& shape = call.operation->input();
  std::string unpacked;
  switch (call.protocol) {
    case Protocol::json: return parse_document(call.protocol, shape, document(request, unpacked));
    case Protocol::query:
      return from_form(shape,
                       parse_query(request.method == "GET" ? request.query() : document(request, unpacked),
                                   kMostFormFields));
    default: return decode_rest(call, request);
  }
}

Response encode(const Call& call, const Value& output, std::string_view request_id) {
  Response response;
  if (call.protocol == Protocol::query) {
    response = encode_query(call, output, request_id);
  } else if (call.protocol == Protocol::json) {
    std::string text;
    if (!output.is_null()) append_json(text, call.operation->output(), output);
    response = {.headers = {{"Content-Type", json_type(call.service)}}, .body = std::move(text)};
  } else {
    response = encode_rest(call, output);
  }
  name_request(response, call, request_id);
  return response;
}

Response encode_fault(const Call& call, const Fault& fault, std::string_view resource,
                      std::string_view request_id) {
  Response response = call.protocol == Protocol::query      ? query_fault(call, fault, request_id)
                      : call.protocol == Protocol::rest_xml ? s3_fault(fault, resource, request_id)
                                                            : json_fault(call, fault);
  name_request(response, call, request_id);
  return response;
}

}  // namespace textmill::wire
