#include "wire/authenticate.h"

#include <gtest/gtest.h>

#include "base/base64.h"
#include "base/hash.h"
#include "wire/chunks.h"
#include "wire/times.h"
#include "wire/uri.h"

namespace textmill::wire {
namespace {

using namespace std::chrono_literals;

const Credentials kUser{"AKIDEXAMPLE", "secret", ""}, kSession{"ASIAEXAMPLE", "secret", "token=="};
const AccessKey kKey{"secret", "", {}};
const base::WallTime kNow = *parse_basic_time("20260131T120000Z");

http::Request request(std::string_view service, std::string_view body = "") {
  http::Request out{.method = body.empty() ? "GET" : "POST",
                    .target = service == "s3" ? "/bucket/a%20key?x=1" : "/",
                    .headers = {{"Host", "127.0.0.1"}},
                    .body = http::Body(std::string(body))};
  return out;
}

Protocol protocol_of(std::string_view service) {
  return service == "s3" ? Protocol::rest_xml : service == "sts" ? Protocol::query : Protocol::json;
}

/// Verifies as a server does; the code of the fault, or "".
std::string code(const http::Request& request, std::string_view service, const AccessKey* key = &kKey,
                 base::WallTime now = kNow) {
  Verifier verifier;
  auto body = base::sha256_hex(request.body.text());
  try {
    auto verified = verifier.verify(request, read_claim(request), protocol_of(service), key, now, body);
    Verifier::check_body(verified, protocol_of(service), body);
    return "";
  } catch (const Fault& fault) { return fault.code(); }
}

http::Request signed_request(std::string_view service, const Credentials& credentials = kUser,
                             std::string_view body = "") {
  auto out = request(service, body);
  sign(out, credentials, "us-east-1", service, kNow, base::sha256_hex(body));
  return out;
}

struct Codes {
  const char *service, *missing, *unknown, *mismatch, *skewed, *token, *expired;
};
constexpr Codes kCodes[] = {
    {"s3", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed",
     "InvalidToken", "ExpiredToken"},
    {"sagemaker", "MissingAuthenticationTokenException", "UnrecognizedClientException",
     "InvalidSignatureException", "InvalidSignatureException", "UnrecognizedClientException",
     "ExpiredTokenException"},
    {"sts", "MissingAuthenticationToken", "InvalidClientTokenId", "SignatureDoesNotMatch",
     "SignatureDoesNotMatch", "InvalidClientTokenId", "ExpiredToken"},
};

TEST(Authenticate, EachServiceHasItsCodes) {
  for (const Codes& codes : kCodes) {
    auto good = signed_request(codes.service, kUser, "body");
    EXPECT_EQ(code(good, codes.service), "");
    EXPECT_EQ(code(good, codes.service), "") << "an identical request is accepted";
    EXPECT_EQ(code(request(codes.service), codes.service), codes.missing);
    EXPECT_EQ(code(good, codes.service, nullptr), codes.unknown);
    AccessKey other{"other", "", {}};
    EXPECT_EQ(code(good, codes.service, &other), codes.mismatch);
    for (auto shift : {-15min - 1s, 15min + 1s})
      EXPECT_EQ(code(good, codes.service, &kKey, kNow + shift), codes.skewed);
    for (auto shift : {-15min, 15min}) EXPECT_EQ(code(good, codes.service, &kKey, kNow + shift), "");

    AccessKey session{"secret", "token==", kNow + 1s};
    auto tokened = signed_request(codes.service, kSession, "body");
    EXPECT_EQ(code(tokened, codes.service, &session), "");
    EXPECT_EQ(code(tokened, codes.service, &session, kNow + 2s), codes.expired);
    EXPECT_EQ(code(tokened, codes.service), codes.token);
    EXPECT_EQ(code(good, codes.service, &session), codes.token);
  }
}

TEST(Authenticate, WhatWasSignedCannotBeChanged) {
  auto changed = [](std::string_view service, auto change) {
    auto out = signed_request(service, kUser, "body");
    change(out);
    return code(out, service);
  };
  EXPECT_EQ(changed("s3", [](auto& r) { r.method = "PUT"; }), "SignatureDoesNotMatch");
  EXPECT_EQ(changed("s3", [](auto& r) { r.target = "/bucket/a%20kez?x=1"; }), "SignatureDoesNotMatch");
  EXPECT_EQ(changed("s3", [](auto& r) { r.target += "&y"; }), "SignatureDoesNotMatch");
  EXPECT_EQ(changed("s3", [](auto& r) { r.headers.set("Host", "other"); }), "SignatureDoesNotMatch");
  EXPECT_EQ(changed("s3", [](auto& r) { r.headers.add("host", "other"); }), "SignatureDoesNotMatch");
  EXPECT_EQ(changed("s3", [](auto& r) { r.headers.add("x-amz-acl", "public"); }), "AccessDenied");
  EXPECT_EQ(changed("s3", [](auto& r) { r.body = http::Body("bodz"); }), "XAmzContentSHA256Mismatch");
  EXPECT_EQ(changed("s3", [](auto& r) { r.headers.set("x-amz-content-sha256", base::sha256_hex("x")); }),
            "SignatureDoesNotMatch");
  EXPECT_EQ(changed("s3", [](auto& r) { r.headers.set("x-amz-content-sha256", "deadbeef"); }),
            "InvalidArgument");
  EXPECT_EQ(changed("s3", [](auto& r) { r.headers.remove("x-amz-content-sha256"); }), "InvalidRequest");
  EXPECT_EQ(changed("s3", [](auto& r) { r.target = "/bucket/a key?x=1"; }), "")
      << "another spelling of the same path";
  EXPECT_EQ(changed("sagemaker", [](auto& r) { r.body = http::Body("bodz"); }), "InvalidSignatureException");
  EXPECT_EQ(changed("sts", [](auto& r) { r.body = http::Body("bodz"); }), "SignatureDoesNotMatch");
  EXPECT_EQ(changed("sts", [](auto& r) { r.headers.add("accept", "x"); }), "") << "headers of no concern";
}

TEST(Authenticate, ClaimsThatCannotBeRead) {
  for (std::string text : {
           "AWS4-HMAC-SHA256 ",
           "AWS4-HMAC-SHA256 Credential=A/20260131/us-east-1/s3, SignedHeaders=host, Signature=00",
           "AWS4-HMAC-SHA256 Credential=A/20260131/us-east-1/s3/aws4_request, Signature=00",
           "AWS4-HMAC-SHA256 Credential=A/20260131/us-east-1/s3/aws4_request, SignedHeaders=host",
           "AWS4-HMAC-SHA256 Credential=A/20260130/us-east-1/s3/aws4_request, SignedHeaders=host, "
           "Signature=00",
           "AWS4-HMAC-SHA256 Credential=////, SignedHeaders=;;;, Signature=,,,=",
       }) {
    auto r = request("s3");
    r.headers.set("x-amz-date", "20260131T120000Z");
    r.headers.set("Authorization", text);
    EXPECT_EQ(code(r, "s3"), "AuthorizationHeaderMalformed") << text;
    EXPECT_EQ(code(r, "sagemaker"), "IncompleteSignatureException") << text;
    EXPECT_EQ(code(r, "sts"), "IncompleteSignature") << text;
  }
  for (std::string text : {"Basic QTpC", "AWS A:b", "AWS4-ECDSA-P256-SHA256 x", "AWS4-HMAC-SHA256"}) {
    auto r = request("s3");
    r.headers.set("Authorization", text);
    EXPECT_EQ(code(r, "s3"), "InvalidRequest") << text;
  }
  auto dateless = signed_request("s3");
  dateless.headers.remove("x-amz-date");
  EXPECT_EQ(code(dateless, "s3"), "AuthorizationHeaderMalformed");
}

TEST(Authenticate, ADateHeaderWillDo) {
  auto r = request("s3");
  r.headers.set("Date", http_date(kNow));
  r.headers.set("x-amz-content-sha256", std::string(kUnsignedPayload));
  const std::vector<std::string> names = {"date", "host", "x-amz-content-sha256"};
  Scope scope{"20260131", "us-east-1", "s3"};
  auto text = string_to_sign(basic_time(kNow), scope, canonical_request(r, names, kUnsignedPayload, true));
  r.headers.set("Authorization", "AWS4-HMAC-SHA256 Credential=A/" + scope.text() +
                                     ",SignedHeaders=date;host;x-amz-content-sha256,Signature=" +
                                     signature(signing_key("secret", scope), text));
  EXPECT_EQ(code(r, "s3"), "");
}

TEST(Authenticate, PresignedUrls) {
  auto presigned = [](std::chrono::seconds valid, const Credentials& credentials = kUser) {
    auto r = request("s3");
    r.target = presign(r, credentials, "us-east-1", "s3", kNow, valid);
    return r;
  };
  auto good = presigned(1h);
  EXPECT_EQ(code(good, "s3"), "");
  EXPECT_EQ(code(good, "s3", &kKey, kNow + 1h), "");
  EXPECT_EQ(code(good, "s3", &kKey, kNow + 1h + 1s), "AccessDenied");
  EXPECT_EQ(code(good, "s3", &kKey, kNow - 16min), "RequestTimeTooSkewed");
  good.method = "PUT";
  EXPECT_EQ(code(good, "s3"), "SignatureDoesNotMatch");
  EXPECT_EQ(code(presigned(24h * 8), "s3"), "AuthorizationQueryParametersError");
  AccessKey session{"secret", "token==", {}};
  EXPECT_EQ(code(presigned(1h, kSession), "s3", &session), "");
  EXPECT_EQ(code(presigned(1h, kSession), "s3"), "InvalidToken");
  auto r = request("s3");
  r.target += "&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00";
  EXPECT_EQ(code(r, "s3"), "AuthorizationQueryParametersError");
}

TEST(Authenticate, PresignedUrlsOfVersion2) {
  auto r = request("s3");
  std::string end = std::to_string(static_cast<int64_t>(to_seconds(kNow)) + 60);
  // The string to sign by hand: of the query, only what names a part of the object.
  auto sum = base::hmac_sha1(
      "secret", "GET\n\n\n" + end + "\nx-amz-meta-a:1,2\n/bucket/a%20key?partNumber=2&uploadId=a b");
  r.headers.add("X-Amz-Meta-A", "1");
  r.headers.add("x-amz-meta-a", "2");
  r.target = "/bucket/a%20key?uploadId=a+b&x=1&partNumber=2&AWSAccessKeyId=AKIDEXAMPLE&Expires=" + end +
             "&Signature=" +
             percent_encode(base::base64_encode({reinterpret_cast<const char*>(sum.data()), sum.size()}));
  EXPECT_EQ(code(r, "s3"), "");
  EXPECT_EQ(code(r, "s3", &kKey, kNow + 61s), "AccessDenied");
  EXPECT_EQ(code(r, "s3", nullptr), "InvalidAccessKeyId");
  EXPECT_EQ(code(r, "sagemaker"), "IncompleteSignatureException");
  r.headers.add("x-amz-meta-b", "2");
  EXPECT_EQ(code(r, "s3"), "SignatureDoesNotMatch");
}

// "Transferring payload in multiple chunks" of the S3 guide: 65 KiB of 'a' in chunks of 64 KiB.
struct ChunkedExample {
  ChunkedExample() {
    request.headers = {{"Host", "s3.amazonaws.com"},
                       {"x-amz-date", "20130524T000000Z"},
                       {"x-amz-storage-class", "REDUCED_REDUNDANCY"},
                       {"x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"},
                       {"Content-Encoding", "aws-chunked"},
                       {"x-amz-decoded-content-length", "66560"},
                       {"Content-Length", "66824"},
                       {"Authorization",
                        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
                        "SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;"
                        "x-amz-decoded-content-length;x-amz-storage-class,Signature="
                        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"}};
    AccessKey key{"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "", {}};
    verified = Verifier().verify(request, read_claim(request), Protocol::rest_xml, &key,
                                 *parse_basic_time("20130524T000000Z"));
    body = "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n" +
           std::string(65536, 'a') +
           "\r\n400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n" +
           std::string(1024, 'a') +
           "\r\n0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n";
  }
  http::Request request{.method = "PUT", .target = "/examplebucket/chunkObject.txt"};
  Verified verified;
  std::string body;
};

std::string decode(const Verified& verified, uint64_t length, std::string_view body, size_t piece,
                   std::string* trailer = nullptr) {
  ChunkDecoder decoder(verified, length);
  std::string out;
  try {
    for (size_t at = 0; at < body.size(); at += piece) decoder.feed(body.substr(at, piece), out);
    decoder.end();
  } catch (const Fault& fault) { return fault.code(); }
  if (trailer) *trailer = decoder.trailers().get("x-amz-checksum-crc32");
  return out;
}

TEST(Chunks, TheExampleOfTheS3Guide) {
  ChunkedExample example;
  EXPECT_EQ(example.verified.payload, Payload::signed_chunks);
  for (size_t piece : {1, 3, 1000, 100'000}) {
    EXPECT_EQ(decode(example.verified, 66560, example.body, piece), std::string(66560, 'a')) << piece;
  }
  std::string flipped = example.body;
  flipped[1000] = 'b';
  EXPECT_EQ(decode(example.verified, 66560, flipped, 100), "SignatureDoesNotMatch");
  for (size_t end : {size_t{0}, size_t{10}, size_t{5000}, example.body.size() - 2}) {
    EXPECT_EQ(decode(example.verified, 66560, example.body.substr(0, end), 100), "IncompleteBody") << end;
  }
  EXPECT_EQ(decode(example.verified, 66559, example.body, 100), "IncompleteBody");
  EXPECT_EQ(decode(example.verified, 66561, example.body, 100), "IncompleteBody");
  EXPECT_EQ(decode(example.verified, 66560, example.body + "x", 100), "InvalidRequest");
}

TEST(Chunks, TrailersUnsignedAndSigned) {
  Verified plain{.payload = Payload::unsigned_chunks_trailer};
  std::string body = "5\r\nhello\r\n0\r\nx-amz-checksum-crc32: NhCmhg==\r\n\r\n", trailer;
  for (size_t piece : {1, 7, 100}) {
    EXPECT_EQ(decode(plain, 5, body, piece, &trailer), "hello");
    EXPECT_EQ(trailer, "NhCmhg==");
  }
  EXPECT_EQ(decode(plain, 0, "0\r\n\r\n", 1), "");
  EXPECT_EQ(decode(plain, 5, "5\r\nhello\r\n0\r\nnonsense\r\n\r\n", 9), "MalformedTrailerError");
  EXPECT_EQ(decode(plain, 5, "5\r\nhellos\r\n", 9), "InvalidRequest");
  EXPECT_EQ(decode(plain, 5, "-5\r\n", 9), "InvalidRequest");
  EXPECT_EQ(decode(plain, 5, "ffffffffffffffff\r\n", 9), "IncompleteBody");
  EXPECT_EQ(decode(plain, 5, "fffffffffffffffff\r\n", 9), "InvalidRequest");
  EXPECT_EQ(decode(plain, 5, std::string(20'000, '1'), 100), "InvalidRequest");

  // "Signature calculations ... including trailing headers" of the S3 guide, by its rules.
  Verified verified{.payload = Payload::signed_chunks_trailer,
                    .scope = {"20260131", "us-east-1", "s3"},
                    .time = "20260131T120000Z",
                    .signature = "5eed"};
  verified.key = signing_key("secret", verified.scope);
  std::string head = "\n20260131T120000Z\n20260131/us-east-1/s3/aws4_request\n", previous = "5eed";
  auto next = [&](std::string_view kind, std::string_view end) {
    std::string text = std::string(kind) + head + previous + "\n" + std::string(end);
    return previous = signature(verified.key, text);
  };
  std::string empty(kEmptySha256);
  std::string signed_body =
      "5;chunk-signature=" + next("AWS4-HMAC-SHA256-PAYLOAD", empty + "\n" + base::sha256_hex("hello")) +
      "\r\nhello\r\n";
  signed_body += "0;chunk-signature=" + next("AWS4-HMAC-SHA256-PAYLOAD", empty + "\n" + empty) + "\r\n";
  signed_body += "x-amz-checksum-crc32:NhCmhg==\r\nx-amz-trailer-signature:" +
                 next("AWS4-HMAC-SHA256-TRAILER", base::sha256_hex("x-amz-checksum-crc32:NhCmhg==\n")) +
                 "\r\n\r\n";
  for (size_t piece : {1, 7, 1000}) EXPECT_EQ(decode(verified, 5, signed_body, piece), "hello");
  signed_body.replace(signed_body.find("NhC"), 3, "NhD");
  EXPECT_EQ(decode(verified, 5, signed_body, 7), "SignatureDoesNotMatch");
}

}  // namespace
}  // namespace textmill::wire
