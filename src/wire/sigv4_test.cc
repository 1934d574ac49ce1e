#include "wire/sigv4.h"

#include <gtest/gtest.h>

#include "base/hash.h"
#include "wire/times.h"
#include "wire/uri.h"

namespace textmill::wire {
namespace {

/// A request and the signature that AWS's documentation or its Python client gives for it.
struct Vector {
  const char* service;
  const char *method, *target;
  http::Headers headers;
  const char* body;
  std::vector<std::string> signed_headers;
  const char* signature;
};

std::string sign_with(std::string_view secret, std::string_view time, std::string_view service,
                      const http::Request& request, std::span<const std::string> names,
                      std::string_view payload) {
  Scope scope{std::string(time.substr(0, 8)), "us-east-1", std::string(service)};
  auto canonical = canonical_request(request, names, payload, service == "s3");
  return signature(signing_key(secret, scope), string_to_sign(time, scope, canonical));
}

TEST(Sigv4, SignsWhatTheClientSigns) {
  const Vector kVectors[] = {
      {"service",
       "GET",
       "/",
       {{"Host", "example.amazonaws.com"}},
       "",
       {"host", "x-amz-date"},
       "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
      {"service",
       "GET",
       "/a//b/./c/../d%20e/?Param2=value2&Param1=value%201&empty",
       {{"Host", "example.amazonaws.com"}},
       "",
       {"host", "x-amz-date"},
       "67f0fd087b5b70a5bd0af27b6eca13984227e172b1c279b18cbac1a6bf8c3b8d"},
      {"sagemaker",
       "POST",
       "/",
       {{"Host", "127.0.0.1:8333"},
        {"X-Amz-Target", "SageMaker.ListModels"},
        {"Content-Type", "application/x-amz-json-1.1"}},
       R"({"MaxResults": 10})",
       {"content-type", "host", "x-amz-date", "x-amz-target"},
       "a7a9438ce3ce002f900053fae73ed876bac6a1a2e08a8db1b2a1b7f098b5d15f"},
      {"sagemaker",
       "POST",
       "/endpoints/my%20end/invocations",
       {{"host", "127.0.0.1:8333"},
        {"My-Header", "  a   b  c "},
        {"X-Amz-Security-Token", "session/token+=="}},
       "x",
       {"host", "my-header", "x-amz-date", "x-amz-security-token"},
       "c7dccd07ae88857b17925a2c9ec4d212bede0765bcdc8243ea15684a4f84a0ed"},
      {"s3",
       "GET",
       "/bucket/a//b/./c/../%C3%A4%20%2B%3D%26?list-type=2&prefix=a%2Fb&delimiter=%2F",
       {{"Host", "127.0.0.1:8333"}, {"X-Amz-Content-SHA256", std::string(kEmptySha256)}},
       "",
       {"host", "x-amz-content-sha256", "x-amz-date"},
       "230ecdb190adc40639492d57e76672cc3cbc11c9f66c66456774289932456d74"},
  };
  for (const Vector& v : kVectors) {
    http::Request request{.method = v.method, .target = v.target, .headers = v.headers};
    request.headers.add("X-Amz-Date", "20150830T123600Z");
    EXPECT_EQ(sign_with("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20150830T123600Z", v.service, request,
                        v.signed_headers, base::sha256_hex(v.body)),
              v.signature)
        << v.target;
  }
}

// The examples of the S3 guide, "Authenticating requests".
TEST(Sigv4, SignsTheExamplesOfTheS3Guide) {
  const Vector kVectors[] = {
      {"s3",
       "GET",
       "/test.txt",
       {{"Range", "bytes=0-9"}},
       "",
       {"host", "range", "x-amz-content-sha256", "x-amz-date"},
       "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
      {"s3",
       "PUT",
       "/test$file.text",
       {{"Date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
       "Welcome to Amazon S3.",
       {"date", "host", "x-amz-content-sha256", "x-amz-date", "x-amz-storage-class"},
       "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
      {"s3",
       "GET",
       "/?lifecycle",
       {},
       "",
       {"host", "x-amz-content-sha256", "x-amz-date"},
       "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
      {"s3",
       "GET",
       "/?max-keys=2&prefix=J",
       {},
       "",
       {"host", "x-amz-content-sha256", "x-amz-date"},
       "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
  };
  for (const Vector& v : kVectors) {
    http::Request request{.method = v.method, .target = v.target, .headers = v.headers};
    request.headers.add("Host", "examplebucket.s3.amazonaws.com");
    request.headers.add("x-amz-date", "20130524T000000Z");
    std::string payload = base::sha256_hex(v.body);
    request.headers.add("x-amz-content-sha256", payload);
    EXPECT_EQ(sign_with("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524T000000Z", "s3", request,
                        v.signed_headers, payload),
              v.signature)
        << v.target;
  }
}

TEST(Sigv4, PresignsTheExampleOfTheS3Guide) {
  http::Request request{
      .method = "GET", .target = "/test.txt", .headers = {{"Host", "examplebucket.s3.amazonaws.com"}}};
  auto target =
      presign(request, {"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""}, "us-east-1",
              "s3", *parse_basic_time("20130524T000000Z"), std::chrono::seconds(86400));
  EXPECT_EQ(
      target,
      "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-"
      "1%2Fs3%2F"
      "aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature="
      "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
}

TEST(Sigv4, CanonicalFormsOfOddRequests) {
  const std::vector<std::string> names = {"a", "host"};
  http::Request request{.method = "GET",
                        .target = "/x/../y//%7e/?b=2&a=%20&a=&b=1&c+d=e+f&X-Amz-Signature=gone&=&&x=a=b",
                        .headers = {{"Host", "h"}, {"A", " 1  2\t3 "}, {"a", ""}}};
  EXPECT_EQ(canonical_request(request, names, "p", false),
            "GET\n/y/%257e/\n=&a=&a=%20&b=1&b=2&c%20d=e%20f&x=a%3Db\na:1 2 3,\nhost:h\n\na;host\np");
  EXPECT_EQ(canonical_request(request, names, "p", true),
            "GET\n/x/../y//~/\n=&a=&a=%20&b=1&b=2&c%20d=e%20f&x=a%3Db\na:1 2 3,\nhost:h\n\na;host\np");
}

TEST(Sigv4, KeepsAThousandKeys) {
  SigningKeys keys;
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 1500; ++i) {
      Scope scope{"20150830", "us-east-1", std::to_string(i)};
      ASSERT_EQ(keys.get("secret", scope), signing_key("secret", scope));
    }
  }
}

TEST(Times, RoundTrip) {
  auto time = *parse_basic_time("20240229T235958Z");
  EXPECT_EQ(basic_time(time), "20240229T235958Z");
  EXPECT_EQ(http_date(time), "Thu, 29 Feb 2024 23:59:58 GMT");
  EXPECT_EQ(parse_http_date(http_date(time)), time);
  EXPECT_EQ(from_seconds(to_seconds(time)), time);
  for (const char* bad : {"", "20240230T000000Z", "20240229T240000Z", "2024022aT000000Z", "20240229T000000+",
                          "20240229 000000Z"}) {
    EXPECT_FALSE(parse_basic_time(bad)) << bad;
  }
  for (const char* bad : {"", "Thu, 30 Feb 2024 23:59:58 GMT", "Thu, 29 Fub 2024 23:59:58 GMT",
                          "Thu, 29 Feb 2024 23:59:58 UTC"}) {
    EXPECT_FALSE(parse_http_date(bad)) << bad;
  }
}

TEST(Uri, EncodesAndDecodes) {
  EXPECT_EQ(percent_encode("a b/\xc3\xa4~"), "a%20b%2F%C3%A4~");
  EXPECT_EQ(percent_encode("a b/", true), "a%20b/");
  EXPECT_EQ(percent_decode("%41%4%zz%+", false), "A%4%zz%+");
  EXPECT_EQ(percent_decode("a+b%2B", true), "a b+");
  EXPECT_EQ(parse_query("a=1&b&&=x&c=%3D=d"), (Parameters{{"a", "1"}, {"b", ""}, {"c", "==d"}}));
  EXPECT_THROW(parse_query("a&b&c", 2), base::Error);
}

}  // namespace
}  // namespace textmill::wire
