#include "wire/authenticate.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/base64.h"
#include "base/hash.h"
#include "base/spelling.h"
#include "wire/times.h"
#include "wire/uri.h"

namespace textmill::wire {

using namespace std::chrono_literals;
using http::Request;

namespace {

constexpr auto kSkew = 15min;
constexpr std::chrono::seconds kLongest = 24h * 7;  // of a presigned URL

enum class Denial {
  missing,
  malformed,
  unknown_key,
  mismatch,
  skewed,
  expired,
  bad_token,
  expired_token,
  not_signed
};

struct Answer {
  const char* code;
  int status;
  const char* message;  // null: the caller's
};

/// Rows: Denial. Columns: S3, JSON, query.
constexpr Answer kAnswers[][3] = {
    {{"AccessDenied", 403, "Access Denied"},
     {"MissingAuthenticationTokenException", 403, "Missing Authentication Token"},
     {"MissingAuthenticationToken", 403, "Request is missing Authentication Token"}},
    {{"AuthorizationHeaderMalformed", 400, nullptr},
     {"IncompleteSignatureException", 400, nullptr},
     {"IncompleteSignature", 400, nullptr}},
    {{"InvalidAccessKeyId", 403, "The AWS Access Key Id you provided does not exist in our records."},
     {"UnrecognizedClientException", 403, "The security token included in the request is invalid."},
     {"InvalidClientTokenId", 403, "The security token included in the request is invalid."}},
    {{"SignatureDoesNotMatch", 403,
      "The request signature we calculated does not match the signature you provided. Check your key and "
      "signing "
      "method."},
     {"InvalidSignatureException", 403,
      "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
      "Access Key "
      "and signing method. Consult the service documentation for details."},
     {"SignatureDoesNotMatch", 403,
      "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
      "Access Key "
      "and signing method. Consult the service documentation for details."}},
    {{"RequestTimeTooSkewed", 403,
      "The difference between the request time and the current time is too large."},
     {"InvalidSignatureException", 403, nullptr},
     {"SignatureDoesNotMatch", 403, nullptr}},
    {{"AccessDenied", 403, "Request has expired"},
     {"InvalidSignatureException", 403, nullptr},
     {"SignatureDoesNotMatch", 403, nullptr}},
    {{"InvalidToken", 400, "The provided token is malformed or otherwise invalid."},
     {"UnrecognizedClientException", 403, "The security token included in the request is invalid."},
     {"InvalidClientTokenId", 403, "The security token included in the request is invalid."}},
    {{"ExpiredToken", 400, "The provided token has expired."},
     {"ExpiredTokenException", 403, "The security token included in the request is expired"},
     {"ExpiredToken", 403, "The security token included in the request is expired"}},
    {{"AccessDenied", 403, "There were headers present in the request which were not signed"},
     {"InvalidSignatureException", 403, nullptr},
     {"SignatureDoesNotMatch", 403, nullptr}},
};

Fault denied(Denial denial, Protocol protocol, const std::string& message = {}, Value details = {}) {
  int column = protocol == Protocol::rest_xml ? 0 : protocol == Protocol::query ? 2 : 1;
  const Answer& answer = kAnswers[static_cast<size_t>(denial)][column];
  return {answer.code, answer.status, answer.message ? answer.message : message,
          column == 0 ? std::move(details) : Value()};
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> out;
  for (size_t at = 0; at <= text.size();) {
    size_t end = std::min(text.find(separator, at), text.size());
    out.emplace_back(text.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

void read_credential(Claim& claim, std::string_view credential) {
  auto parts = split(credential, '/');
  // The access key itself may hold slashes.
  if (parts.size() < 5 || parts.back() != "aws4_request") {
    claim.problem = "Credential must be ACCESS_KEY/YYYYMMDD/REGION/SERVICE/aws4_request.";
    return;
  }
  size_t last = parts.size() - 1;
  claim.scope = {parts[last - 3], parts[last - 2], parts[last - 1]};
  parts.resize(last - 3);
  claim.access_key = fmt::format("{}", fmt::join(parts, "/"));
}

void set_signed_headers(Claim& claim, std::string_view names) {
  claim.signed_headers = split(names, ';');
  std::ranges::sort(claim.signed_headers);
}

std::string request_time(const Request& head) {
  if (auto time = head.headers.find("x-amz-date")) return std::string(*time);
  auto date = parse_http_date(head.headers.get("date"));
  return date ? basic_time(*date) : "";
}

void read_header(Claim& claim, const Request& head, std::string_view text) {
  claim.form = Claim::Form::header;
  std::string_view credential;
  for (const std::string& part : split(text, ',')) {
    auto field = trimmed(part);
    auto equals = std::min(field.find('='), field.size());
    auto name = field.substr(0, equals), value = field.substr(std::min(equals + 1, field.size()));
    if (name == "Credential") read_credential(claim, credential = value);
    if (name == "SignedHeaders") set_signed_headers(claim, value);
    if (name == "Signature") claim.signature = value;
  }
  claim.token = head.headers.get("x-amz-security-token");
  claim.time = request_time(head);
  if (claim.access_key.empty() && claim.problem.empty())
    claim.problem = "Authorization header requires 'Credential' parameter.";
  if (claim.signature.empty()) claim.problem += " Authorization header requires 'Signature' parameter.";
  if (claim.signed_headers.empty())
    claim.problem += " Authorization header requires 'SignedHeaders' parameter.";
  if (claim.time.empty()) {
    claim.problem += " Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.";
  }
}

void read_query_parameters(Claim& claim, std::string_view query) {
  for (auto& [name, value] : parse_query(query)) {
    if (name == "X-Amz-Algorithm") {
      claim.form = value == kAlgorithm ? Claim::Form::query : Claim::Form::unknown;
    } else if (name == "X-Amz-Credential") {
      read_credential(claim, value);
    } else if (name == "X-Amz-Date" || (name == "Expires" && claim.form != Claim::Form::query)) {
      claim.time = value;
    } else if (name == "X-Amz-Expires") {
      claim.expires = value;
    } else if (name == "X-Amz-SignedHeaders") {
      set_signed_headers(claim, value);
    } else if (name == "X-Amz-Signature" || name == "Signature") {
      claim.signature = value;
    } else if (name == "X-Amz-Security-Token" || name == "x-amz-security-token") {
      claim.token = value;
    } else if (name == "AWSAccessKeyId") {
      claim.form = Claim::Form::query_v2;
      claim.access_key = value;
      claim.scope.service = "s3";
    }
  }
}

bool is_sha256(std::string_view text) {
  return text.size() == 64 &&
         std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::optional<int64_t> integer(std::string_view text) {
  int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && !text.empty() ? std::optional(value)
                                                                                   : std::nullopt;
}

Fault query_problem(const std::string& message) {
  return {"AuthorizationQueryParametersError", 400, message};
}

/// Throws unless `now` lies where the claim holds.
void check_time(const Claim& claim, Protocol protocol, base::WallTime now) {
  auto time = parse_basic_time(claim.time);
  if (!time || claim.time.substr(0, 8) != claim.scope.date) {
    throw denied(
        Denial::malformed, protocol,
        fmt::format(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            "'{}' != '{}', from '{}'.",
            claim.scope.date, claim.time.substr(0, 8), claim.time));
  }
  bool url = claim.form == Claim::Form::query;
  std::chrono::seconds valid = kSkew;
  if (url) {
    auto seconds = integer(claim.expires);
    if (!seconds || *seconds < 0) throw query_problem("X-Amz-Expires should be a number of seconds");
    if (*seconds > kLongest.count())
      throw query_problem(
          "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be "
          "less than 604800 seconds");
    valid = std::chrono::seconds(*seconds);
  }
  Value details = Value::object({{"RequestTime", claim.time},
                                 {"ServerTime", base::iso8601(now)},
                                 {"MaxAllowedSkewMilliseconds", std::chrono::milliseconds(kSkew).count()}});
  if (now > *time + valid) {
    auto message = fmt::format("Signature expired: {} is now earlier than {} ({} - {} sec.)", claim.time,
                               basic_time(now - valid), basic_time(now), valid.count());
    throw denied(url ? Denial::expired : Denial::skewed, protocol, message, std::move(details));
  }
  if (*time > now + kSkew) {
    auto message = fmt::format("Signature not yet current: {} is still later than {} ({} + 15 min.)",
                               claim.time, basic_time(now + kSkew), basic_time(now));
    throw denied(Denial::skewed, protocol, message, std::move(details));
  }
}

void check_signed_headers(const Request& request, const Claim& claim, Protocol protocol) {
  auto is_signed = [&](std::string_view name) {
    return std::ranges::any_of(claim.signed_headers,
                               [&](const std::string& s) { return http::same_name(s, name); });
  };
  for (const auto& [name, value] : request.headers) {
    bool must =
        http::same_name(name, "host") || (name.size() > 6 && http::same_name(name.substr(0, 6), "x-amz-"));
    if (must && !is_signed(name)) {
      throw denied(Denial::not_signed, protocol,
                   fmt::format("'{}' must be a 'SignedHeader' in the AWS Authorization.", name),
                   Value::object({{"HeadersNotSigned", name}}));
    }
  }
}

/// Query parameters that are part of what a V2 signature covers.
constexpr std::string_view kV2Parameters[] = {"accelerate",
                                              "acl",
                                              "cors",
                                              "defaultObjectAcl",
                                              "delete",
                                              "lifecycle",
                                              "location",
                                              "logging",
                                              "notification",
                                              "object-lock",
                                              "partNumber",
                                              "policy",
                                              "replication",
                                              "requestPayment",
                                              "response-cache-control",
                                              "response-content-disposition",
                                              "response-content-encoding",
                                              "response-content-language",
                                              "response-content-type",
                                              "response-expires",
                                              "restore",
                                              "select",
                                              "select-type",
                                              "storageClass",
                                              "tagging",
                                              "torrent",
                                              "uploadId",
                                              "uploads",
                                              "versionId",
                                              "versioning",
                                              "versions",
                                              "website",
                                              "analytics",
                                              "metrics",
                                              "inventory"};

/// A header that stands in the query of a presigned request, beside what a V4 signature itself has there.
bool is_header_in_query(std::string_view name) {
  static constexpr std::string_view kOwn[] = {
      "X-Amz-Algorithm", "X-Amz-Credential",    "X-Amz-Date",          "X-Amz-Expires",
      "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Content-Sha256"};
  return name.size() > 6 && http::same_name(name.substr(0, 6), "x-amz-") &&
         std::ranges::none_of(kOwn, [&](std::string_view own) { return http::same_name(name, own); });
}

/// What a V2 query signature signs ("Query string request authentication alternative" of the S3 guide).
std::string v2_string_to_sign(const Request& request, const Claim& claim, std::string_view path) {
  std::map<std::string, std::string> amz;
  for (const auto& [name, value] : request.headers) {
    std::string key = base::lower_case(name);
    if (!key.starts_with("x-amz-")) continue;
    std::string& all = amz[key];
    (all += all.empty() ? "" : ",") += trimmed(value);
  }
  Parameters parameters;
  for (auto& [name, value] : parse_query(request.query())) {
    if (is_header_in_query(name)) amz.try_emplace(base::lower_case(name), trimmed(value));
    if (std::ranges::find(kV2Parameters, name) != std::end(kV2Parameters))
      parameters.emplace_back(name, value);
  }
  std::ranges::sort(parameters);
  std::string out = fmt::format("{}\n{}\n{}\n{}\n", request.method, request.headers.get("content-md5"),
                                request.headers.get("content-type"), claim.time);
  for (const auto& [name, value] : amz) out += fmt::format("{}:{}\n", name, value);
  out += path;
  char separator = '?';
  for (const auto& [name, value] : parameters) {
    (out += separator) += name;
    if (!value.empty()) (out += '=') += value;
    separator = '&';
  }
  return out;
}

void verify_v2(const Request& request, const Claim& claim, const AccessKey& key, base::WallTime now) {
  auto end = integer(claim.time);
  if (!end) throw denied(Denial::missing, Protocol::rest_xml);
  if (to_seconds(now) > static_cast<double>(*end)) {
    throw denied(Denial::expired, Protocol::rest_xml, {},
                 Value::object({{"ServerTime", base::iso8601(now)}}));
  }
  auto right = [&](const std::string& text) {
    auto sum = base::hmac_sha1(key.secret, text);
    std::string expected = base::base64_encode({reinterpret_cast<const char*>(sum.data()), sum.size()});
    return base::equal_in_constant_time(expected, claim.signature);
  };
  std::string path(request.path()), text = v2_string_to_sign(request, claim, path);
  // Of a bucket alone boto3 signs "/bucket/" and asks for "/bucket".
  bool bucket = path.size() > 1 && path.find('/', 1) == path.npos;
  if (!right(text) && !(bucket && right(v2_string_to_sign(request, claim, path + "/")))) {
    throw denied(Denial::mismatch, Protocol::rest_xml, {},
                 Value::object({{"AWSAccessKeyId", claim.access_key},
                                {"StringToSign", text},
                                {"SignatureProvided", claim.signature}}));
  }
}

}  // namespace

Claim read_claim(const Request& head) {
  Claim claim;
  auto text = head.headers.get("authorization");
  if (!text.empty()) {
    if (text.starts_with(kAlgorithm) && text.substr(kAlgorithm.size()).starts_with(' ')) {
      read_header(claim, head, text.substr(kAlgorithm.size() + 1));
    } else {
      claim.form = Claim::Form::unknown;
    }
  } else if (head.query().find("Signature=") != std::string_view::npos) {
    read_query_parameters(claim, head.query());
    if (claim.form == Claim::Form::query && (claim.access_key.empty() || claim.signature.empty() ||
                                             claim.time.empty() || claim.signed_headers.empty())) {
      claim.problem =
          "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, "
          "X-Amz-Signature, "
          "X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.";
    }
  }
  return claim;
}

void take_headers_from_query(Request& request, const Claim& claim) {
  if (claim.form != Claim::Form::query && claim.form != Claim::Form::query_v2) return;
  // Not the session's token, which was looked at; nor sums, which SDKs make of the body that they do not have yet.
  for (auto& [name, value] : parse_query(request.query())) {
    std::string lower = base::lower_case(name);
    constexpr std::string_view kSums[] = {"crc32", "crc32c", "crc64nvme", "sha1", "sha256"};
    bool sum = lower == "x-amz-sdk-checksum-algorithm" ||
               std::ranges::any_of(
                   kSums, [&](std::string_view of) { return lower == fmt::format("x-amz-checksum-{}", of); });
    if (sum || lower == "x-amz-security-token" || !is_header_in_query(name) || request.headers.find(name))
      continue;
    auto in_no_value = [](char c) { return (c >= 0 && c < ' ' && c != '\t') || c == 127; };
    constexpr std::string_view kName =
        "abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~";  // RFC 9110, 5.6.2
    if (std::ranges::any_of(value, in_no_value) || lower.find_first_not_of(kName) != lower.npos)
      throw Fault("InvalidArgument", 400, fmt::format("{}: a character that no header has", lower),
                  Value::object({{"ArgumentName", lower}}));
    request.headers.add(name, value);
  }
}

Payload Verifier::payload(const Request& head, const Claim& claim, Protocol protocol) {
  if (claim.form == Claim::Form::query_v2) return Payload::unsigned_payload;
  bool s3 = protocol == Protocol::rest_xml;
  auto value = head.headers.find("x-amz-content-sha256");
  if (!s3) return value && is_sha256(*value) ? Payload::hashed : Payload::body;
  if (claim.form != Claim::Form::header && !value) return Payload::unsigned_payload;
  if (!value)
    throw Fault("InvalidRequest", 400, "Missing required header for this request: x-amz-content-sha256");
  static constexpr std::pair<std::string_view, Payload> kWords[] = {
      {kUnsignedPayload, Payload::unsigned_payload},
      {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", Payload::signed_chunks},
      {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", Payload::signed_chunks_trailer},
      {"STREAMING-UNSIGNED-PAYLOAD-TRAILER", Payload::unsigned_chunks_trailer}};
  for (const auto& [word, payload] : kWords) {
    if (*value == word) return payload;
  }
  if (is_sha256(*value)) return Payload::hashed;
  throw Fault("InvalidArgument", 400,
              "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, "
              "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, STREAMING-UNSIGNED-PAYLOAD-TRAILER or a valid "
              "sha256 value.");
}

Verified Verifier::verify(const Request& request, const Claim& claim, Protocol protocol, const AccessKey* key,
                          base::WallTime now, std::string_view body_sha256) {
  bool s3 = protocol == Protocol::rest_xml;
  if (claim.form == Claim::Form::none) throw denied(Denial::missing, protocol);
  if (claim.form == Claim::Form::unknown || (claim.form == Claim::Form::query_v2 && !s3)) {
    if (s3)
      throw Fault(
          "InvalidRequest", 400,
          "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.");
    throw denied(Denial::malformed, protocol, "Unsupported AWS 'algorithm': AWS4-HMAC-SHA256 is expected.");
  }
  if (!claim.problem.empty()) {
    if (s3 && claim.form == Claim::Form::query) throw query_problem(claim.problem);
    throw denied(Denial::malformed, protocol,
                 s3 ? "The authorization header is malformed; " + claim.problem : claim.problem);
  }
  if (claim.form != Claim::Form::query_v2) check_time(claim, protocol, now);
  if (!key)
    throw denied(Denial::unknown_key, protocol, {}, Value::object({{"AWSAccessKeyId", claim.access_key}}));
  if (!base::equal_in_constant_time(key->token, claim.token)) throw denied(Denial::bad_token, protocol);
  if (key->expires && now > *key->expires) throw denied(Denial::expired_token, protocol);

  if (claim.form == Claim::Form::query_v2) {
    verify_v2(request, claim, *key, now);
    return {};
  }
  check_signed_headers(request, claim, protocol);
  Verified out = {.payload = payload(request, claim, protocol),
                  .scope = claim.scope,
                  .time = claim.time,
                  .signature = claim.signature};
  auto header = request.headers.get("x-amz-content-sha256", kUnsignedPayload);
  if (out.payload == Payload::hashed) out.body_sha256 = header;
  out.key = keys_.get(key->secret, claim.scope);
  std::string canonical = canonical_request(request, claim.signed_headers,
                                            out.payload == Payload::body ? body_sha256 : header, s3);
  std::string text = string_to_sign(claim.time, claim.scope, canonical);
  if (!base::equal_in_constant_time(signature(out.key, text), claim.signature)) {
    throw denied(Denial::mismatch, protocol, {},
                 Value::object({{"AWSAccessKeyId", claim.access_key},
                                {"StringToSign", text},
                                {"SignatureProvided", claim.signature},
                                {"CanonicalRequest", canonical}}));
  }
  return out;
}

void Verifier::check_body(const Verified& verified, Protocol protocol, std::string_view body_sha256) {
  if (verified.payload != Payload::hashed || verified.body_sha256 == body_sha256) return;
  if (protocol != Protocol::rest_xml) throw denied(Denial::mismatch, protocol);
  throw Fault("XAmzContentSHA256Mismatch", 400,
              "The provided 'x-amz-content-sha256' header does not match what was computed.",
              Value::object({{"ClientComputedContentSHA256", verified.body_sha256},
                             {"S3ComputedContentSHA256", std::string(body_sha256)}}));
}

}  // namespace textmill::wire
