#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "wire/fault.h"
#include "wire/sigv4.h"

namespace textmill::wire {

/// What a request says about who signed it; nothing of it is believed yet.
struct Claim {
  enum class Form { none, header, query, query_v2, unknown };
  Form form = Form::none;
  std::string problem;  // why the claim cannot be read; empty if it can
  std::string access_key, token;
  Scope scope;                              // V4
  std::string time;                         // basic_time; V2: seconds since the epoch at which it ends
  std::string expires;                      // seconds; V4 in the query
  std::vector<std::string> signed_headers;  // sorted
  std::string signature;
};

/// Never fails: see Claim::problem.
Claim read_claim(const http::Request& head);

/// Presigning moves headers x-amz-* into the query: what the signature covers there is an input as if it had been sent so.
/// For a verified request; a header that was sent stays.
void take_headers_from_query(http::Request& request, const Claim& claim);

/// How the body takes part in a signature.
enum class Payload {
  hashed,  // its hash is in a header
  body,    // its hash is to be computed: the body must be there before the signature can be verified
  unsigned_payload,         // not at all
  signed_chunks,            // aws-chunked, each chunk signed
  signed_chunks_trailer,    // and the trailer too
  unsigned_chunks_trailer,  // aws-chunked for the sake of the trailer
};

/// What is known of an access key.
struct AccessKey {
  std::string secret;
  std::string token;  // of a session; empty for a user's key
  std::optional<base::WallTime> expires;
};

/// A signature that was right, and what is needed to verify the chunks of the body.
struct Verified {
  Payload payload = Payload::unsigned_payload;
  std::string body_sha256;  // hexadecimal, if `hashed`
  Scope scope;
  std::string time, signature;
  SigningKey key{};
};

/// Verifies as AWS does, with the error code that each kind of service has. For any thread.
class Verifier {
 public:
  /// Throws Fault for a header that says what cannot be.
  static Payload payload(const http::Request& head, const Claim& claim, Protocol protocol);

  /// `key`: of claim.access_key, null if there is none. `body_sha256`: hexadecimal, for Payload::body. Throws Fault:
  /// no signature or one that cannot be read, an unknown key, a wrong or expired token, a clock more than 15 minutes
  /// off, an expired URL, headers that should have been signed, a wrong signature.
  Verified verify(const http::Request& request, const Claim& claim, Protocol protocol, const AccessKey* key,
                  base::WallTime now, std::string_view body_sha256 = {});

  /// The body that came is the one that was signed. Throws Fault.
  static void check_body(const Verified& verified, Protocol protocol, std::string_view body_sha256);

 private:
  SigningKeys keys_;
};

}  // namespace textmill::wire
