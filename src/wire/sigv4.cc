#include "wire/sigv4.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/hash.h"
#include "wire/times.h"
#include "wire/uri.h"

namespace textmill::wire {
namespace {

std::string_view bytes(const SigningKey& key) {
  return {reinterpret_cast<const char*>(key.data()), key.size()};
}

/// RFC 3986, section 5.2.4, and no empty segments.
std::string normal_path(std::string_view path) {
  std::vector<std::string_view> kept;
  bool folder = true;  // the path ends in a slash
  for (size_t at = 0; at <= path.size();) {
    size_t end = std::min(path.find('/', at), path.size());
    auto segment = path.substr(at, end - at);
    folder = segment.empty() || segment == "." || segment == "..";
    if (segment == ".." && !kept.empty()) kept.pop_back();
    if (!folder) kept.push_back(segment);
    at = end + 1;
  }
  std::string out = "/";
  for (auto segment : kept) (out += segment) += '/';
  if (!folder) out.pop_back();
  return out;
}

void append_path(std::string& out, std::string_view path, bool s3) {
  if (s3) return append_percent_encoded(out, percent_decode(path, false), true);
  append_percent_encoded(out, normal_path(path), true);
}

void append_query(std::string& out, std::string_view query) {
  std::vector<std::pair<std::string, std::string>> parts;
  while (!query.empty()) {
    auto part = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), part.size() + 1));
    if (part.empty()) continue;
    auto equals = std::min(part.find('='), part.size());
    auto name = percent_encode(percent_decode(part.substr(0, equals), true));
    if (name == "X-Amz-Signature") continue;
    auto value = part.substr(std::min(part.size(), equals + 1));
    parts.emplace_back(std::move(name), percent_encode(percent_decode(value, true)));
  }
  std::ranges::sort(parts);
  for (const auto& [name, value] : parts) ((((out += name) += '=') += value) += '&');
  if (!parts.empty()) out.pop_back();
}

/// Trimmed, runs of blanks as one space.
void append_header_value(std::string& out, std::string_view value) {
  size_t begin = out.size();
  for (char c : value) {
    bool blank = c == ' ' || c == '\t';
    if (!blank)
      out += c;
    else if (out.size() > begin && out.back() != ' ')
      out += ' ';
  }
  if (out.size() > begin && out.back() == ' ') out.pop_back();
}

std::string joined(std::span<const std::string> names) { return fmt::format("{}", fmt::join(names, ";")); }

/// Proxies and clients change or add these on the way.
bool may_change(std::string_view header) {
  static constexpr std::string_view kNames[] = {"authorization",     "connection",      "expect",
                                                "user-agent",        "x-amzn-trace-id", "te",
                                                "transfer-encoding", "accept-encoding"};
  return std::ranges::find(kNames, header) != std::end(kNames);
}

std::string lower(std::string_view name) {
  std::string out(name);
  std::ranges::transform(out, out.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return out;
}

Scope scope_of(std::string_view time, std::string_view region, std::string_view service) {
  return {std::string(time.substr(0, 8)), std::string(region), std::string(service)};
}

}  // namespace

std::string Scope::text() const { return fmt::format("{}/{}/{}/aws4_request", date, region, service); }

SigningKey signing_key(std::string_view secret, const Scope& scope) {
  SigningKey key = base::hmac_sha256("AWS4" + std::string(secret), scope.date);
  for (std::string_view part :
       {std::string_view(scope.region), std::string_view(scope.service), std::string_view("aws4_request")}) {
    key = base::hmac_sha256(bytes(key), part);
  }
  return key;
}

SigningKey SigningKeys::get(std::string_view secret, const Scope& scope) {
  constexpr size_t kMost = 1024;
  std::string name = fmt::format("{}\n{}", secret, scope.text());
  std::lock_guard lock(mutex_);
  auto found = by_name_.find(name);
  if (found != by_name_.end()) {
    recent_.splice(recent_.begin(), recent_, found->second);
    return recent_.front().second;
  }
  recent_.emplace_front(std::move(name), signing_key(secret, scope));
  by_name_.emplace(recent_.front().first, recent_.begin());
  if (recent_.size() > kMost) {
    by_name_.erase(recent_.back().first);
    recent_.pop_back();
  }
  return recent_.front().second;
}

std::string canonical_request(const http::Request& request, std::span<const std::string> signed_headers,
                              std::string_view payload, bool s3) {
  std::string out;
  out.reserve(1024);
  (out += request.method) += '\n';
  append_path(out, request.path(), s3);
  out += '\n';
  append_query(out, request.query());
  out += '\n';
  for (const std::string& name : signed_headers) {
    (out += name) += ':';
    bool first = true;
    for (const auto& [key, value] : request.headers) {
      if (!http::same_name(key, name)) continue;
      if (!first) out += ',';
      first = false;
      append_header_value(out, value);
    }
    out += '\n';
  }
  ((((out += '\n') += joined(signed_headers)) += '\n') += payload);
  return out;
}

std::string string_to_sign(std::string_view time, const Scope& scope, std::string_view canonical) {
  return fmt::format("{}\n{}\n{}\n{}", kAlgorithm, time, scope.text(), base::sha256_hex(canonical));
}

std::string signature(const SigningKey& key, std::string_view string_to_sign) {
  return base::hex(base::hmac_sha256(bytes(key), string_to_sign));
}

void sign(http::Request& request, const Credentials& credentials, std::string_view region,
          std::string_view service, base::WallTime now, std::string_view payload) {
  std::string time = basic_time(now);
  request.headers.set("X-Amz-Date", time);
  if (!credentials.token.empty()) request.headers.set("X-Amz-Security-Token", credentials.token);
  if (service == "s3") request.headers.set("X-Amz-Content-SHA256", std::string(payload));
  std::vector<std::string> names;
  for (const auto& [name, value] : request.headers) {
    if (!may_change(lower(name))) names.push_back(lower(name));
  }
  std::ranges::sort(names);
  auto twice = std::ranges::unique(names);
  names.erase(twice.begin(), twice.end());
  Scope scope = scope_of(time, region, service);
  auto canonical = canonical_request(request, names, payload, service == "s3");
  auto sum = signature(signing_key(credentials.secret, scope), string_to_sign(time, scope, canonical));
  request.headers.set("Authorization",
                      fmt::format("{} Credential={}/{}, SignedHeaders={}, Signature={}", kAlgorithm,
                                  credentials.access_key, scope.text(), joined(names), sum));
}

std::string presign(const http::Request& request, const Credentials& credentials, std::string_view region,
                    std::string_view service, base::WallTime now, std::chrono::seconds valid) {
  std::string time = basic_time(now);
  Scope scope = scope_of(time, region, service);
  http::Request signed_request = {
      .method = request.method, .target = request.target, .headers = request.headers};
  std::string& target = signed_request.target;
  target += request.target.find('?') == std::string::npos ? '?' : '&';
  target += fmt::format(
      "X-Amz-Algorithm={}&X-Amz-Credential={}&X-Amz-Date={}&X-Amz-Expires={}&X-Amz-SignedHeaders=host",
      kAlgorithm, percent_encode(credentials.access_key + "/" + scope.text()), time, valid.count());
  if (!credentials.token.empty()) target += "&X-Amz-Security-Token=" + percent_encode(credentials.token);
  const std::string host[] = {"host"};
  auto payload = service == "s3" ? kUnsignedPayload : kEmptySha256;
  auto canonical = canonical_request(signed_request, host, payload, service == "s3");
  return target + "&X-Amz-Signature=" +
         signature(signing_key(credentials.secret, scope), string_to_sign(time, scope, canonical));
}

}  // namespace textmill::wire
