#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "http/message.h"

namespace textmill::wire {

// AWS Signature Version 4: the forms that signer and verifier share, and the signer. Verification: authenticate.h.

inline constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256", kUnsignedPayload = "UNSIGNED-PAYLOAD",
                                  kEmptySha256 =
                                      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What a signing key is good for.
struct Scope {
  std::string date;  // "20150830"
  std::string region, service;

  std::string text() const;  // "20150830/us-east-1/s3/aws4_request"
};

using SigningKey = std::array<uint8_t, 32>;
SigningKey signing_key(std::string_view secret, const Scope& scope);

/// Signing keys that were asked for before, at most 1,024. For any thread.
class SigningKeys {
 public:
  SigningKey get(std::string_view secret, const Scope& scope);

 private:
  using Entry = std::pair<std::string, SigningKey>;
  std::mutex mutex_;
  std::list<Entry> recent_;  // the latest first
  std::map<std::string_view, std::list<Entry>::iterator> by_name_;
};

/// `signed_headers`: lower case, sorted. `payload`: the body's SHA-256 in hexadecimal, or one of the fixed words. A
/// presigned URL's own signature is left out of the query. S3's path is encoded once and otherwise as it was sent;
/// other services' is freed of dots and doubled slashes, and encoded on top of what was sent.
std::string canonical_request(const http::Request& request, std::span<const std::string> signed_headers,
                              std::string_view payload, bool s3);

/// `time`: basic_time. `what`: the algorithm's name, or that of a chunk's.
std::string string_to_sign(std::string_view time, const Scope& scope, std::string_view canonical);

/// Lower-case hexadecimal.
std::string signature(const SigningKey& key, std::string_view string_to_sign);

struct Credentials {
  std::string access_key, secret;
  std::string token;  // of a session; empty for a user's key
};

/// Adds the headers that sign the request, X-Amz-Date and X-Amz-Security-Token among them; all headers present are
/// signed but those that proxies change, so Host must be there. `payload`: see canonical_request; S3 wants it sent.
void sign(http::Request& request, const Credentials& credentials, std::string_view region,
          std::string_view service, base::WallTime now, std::string_view payload);

/// The request's target with a signature in its query that holds for `valid`; only Host is signed.
std::string presign(const http::Request& request, const Credentials& credentials, std::string_view region,
                    std::string_view service, base::WallTime now, std::chrono::seconds valid);

}  // namespace textmill::wire
