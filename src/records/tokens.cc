#include "records/tokens.h"

#include "base/base64.h"
#include "base/error.h"
#include "base/hash.h"

namespace textmill::records {

namespace {

constexpr size_t kSignature = 16, kLongest = 8192;
// No '=' at the end: the payload is filled up to whole groups of three bytes; how many were added goes before it.
constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

std::string Tokens::signature(std::string_view scope, std::string_view payload) const {
  auto mac = base::hmac_sha256(secret_, std::string(scope) + '\0' + std::string(payload));
  return {mac.begin(), mac.begin() + kSignature};
}

std::string Tokens::seal(std::string_view scope, std::string_view payload) const {
  size_t filled = 2 - (kSignature + payload.size()) % 3;
  std::string body(1, static_cast<char>(filled));
  body.append(payload).append(filled, '\0');
  return base::base64_encode(signature(scope, body) + body);
}

std::optional<std::string> Tokens::open_if_ours(std::string_view scope, std::string_view token) const {
  if (token.size() > kLongest || token.size() % 4 != 0 || token.find_first_not_of(kAlphabet) != token.npos)
    return {};
  std::string bytes = base::base64_decode(token);
  if (bytes.size() <= kSignature) return {};
  std::string_view claimed = std::string_view(bytes).substr(0, kSignature),
                   body = std::string_view(bytes).substr(kSignature);
  if (!base::equal_in_constant_time(signature(scope, body), claimed)) return {};
  return std::string(body.substr(1, body.size() - 1 - static_cast<size_t>(body[0])));
}

std::string Tokens::open(std::string_view scope, std::string_view token) const {
  auto payload = open_if_ours(scope, token);
  if (!payload) throw base::Error(base::Kind::invalid, "The pagination token is not valid.");
  return *payload;
}

}  // namespace textmill::records
