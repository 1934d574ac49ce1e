#include "records/tokens.h"

#include "base/base64.h"
#include "base/error.h"
#include "base/hash.h"

namespace textmill::records {

namespace {

constexpr size_t kSignature = 16, kLongest = 8192;

base::Error refused() { return {base::Kind::invalid, "The pagination token is not valid."}; }

}  // namespace

std::string Tokens::signature(std::string_view scope, std::string_view payload) const {
  auto mac = base::hmac_sha256(secret_, std::string(scope) + '\0' + std::string(payload));
  return {mac.begin(), mac.begin() + kSignature};
}

std::string Tokens::seal(std::string_view scope, std::string_view payload) const {
  return base::base64_encode(signature(scope, payload) + std::string(payload));
}

std::string Tokens::open(std::string_view scope, std::string_view token) const {
  if (token.size() > kLongest ||
      token.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                              "0123456789+/=") != std::string_view::npos)
    throw refused();
  std::string bytes = base::base64_decode(token);
  if (bytes.size() < kSignature) throw refused();
  std::string payload = bytes.substr(kSignature);
  if (!base::equal_in_constant_time(signature(scope, payload), std::string_view(bytes).substr(0, kSignature)))
    throw refused();
  return payload;
}

}  // namespace textmill::records
