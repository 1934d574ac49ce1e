#include "wire/codec.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include "wire/document.h"
#include "wire/validate.h"

namespace textmill::wire {
namespace {

using http::Request;

Call call_of(const Request& request, std::string_view signed_as) {
  Call call = find_call(request, signed_as);
  find_action(call, request);
  return call;
}

std::string named(const Request& request, std::string_view signed_as) {
  Call call = call_of(request, signed_as);
  return call.operation
             ? std::string(call.service->id.view()) + ":" + std::string(call.operation->name.view())
             : "";
}

Request json(std::string target, std::string_view body = "{}") {
  return {.method = "POST",
          .target = "/",
          .headers = {{"X-Amz-Target", std::move(target)}},
          .body = http::Body(std::string(body))};
}

Request form(std::string_view body) {
  return {.method = "POST",
          .target = "/",
          .headers = {{"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"}},
          .body = http::Body(std::string(body))};
}

Request s3(std::string method, std::string target, std::string_view body = "", http::Headers headers = {}) {
  return {.method = std::move(method),
          .target = std::move(target),
          .headers = std::move(headers),
          .body = http::Body(std::string(body))};
}

std::string decoded(const Request& request, std::string_view signed_as) {
  Call call = call_of(request, signed_as);
  require_operation(call);
  return format::to_text(decode(call, request));
}

TEST(Call, ByTargetFormAndPath) {
  EXPECT_EQ(named(json("SageMaker.CreateModel"), "sagemaker"), "sagemaker:CreateModel");
  EXPECT_EQ(named(json("Logs_20140328.PutLogEvents"), "logs"), "logs:PutLogEvents");
  EXPECT_EQ(named(json("GraniteServiceVersion20100801.ListMetrics"), "monitoring"), "cloudwatch:ListMetrics");
  EXPECT_EQ(named(json("AnyScaleFrontendService.PutScalingPolicy"), "application-autoscaling"),
            "application-autoscaling:PutScalingPolicy");
  EXPECT_EQ(named(form("Action=ListMetrics&Version=2010-08-01"), "monitoring"), "cloudwatch:ListMetrics");
  EXPECT_EQ(named(form("Version=2011-06-15&Action=GetCallerIdentity"), "sts"), "sts:GetCallerIdentity");
  EXPECT_EQ(named({.method = "GET", .target = "/?Action=GetCallerIdentity&Version=2011-06-15"}, "sts"),
            "sts:GetCallerIdentity");
  EXPECT_EQ(named(s3("POST", "/endpoints/e/invocations"), "sagemaker"), "sagemaker-runtime:InvokeEndpoint");
  EXPECT_EQ(named(s3("POST", "/endpoints/e/invocations-response-stream"), "sagemaker"),
            "sagemaker-runtime:InvokeEndpointWithResponseStream");
  EXPECT_EQ(named(s3("GET", "/endpoints/e"), "s3"), "s3:GetObject") << "the scope decides";
}

TEST(Call, RoutesOfS3) {
  const std::tuple<const char*, const char*, http::Headers, const char*> kCases[] = {
      {"GET", "/", {}, "ListBuckets"},
      {"GET", "/b", {}, "ListObjects"},
      {"GET", "/b/", {}, "ListObjects"},
      {"GET", "/b?list-type=2&prefix=x", {}, "ListObjectsV2"},
      {"GET", "/b/?list-type=3", {}, "ListObjects"},
      {"GET", "/b?versions", {}, "ListObjectVersions"},
      {"GET", "/b?location=", {}, "GetBucketLocation"},
      {"GET", "/b?uploads", {}, "ListMultipartUploads"},
      {"GET", "/b?lifecycle", {}, "GetBucketLifecycleConfiguration"},
      {"PUT", "/b", {}, "CreateBucket"},
      {"HEAD", "/b", {}, "HeadBucket"},
      {"DELETE", "/b", {}, "DeleteBucket"},
      {"POST", "/b?delete", {}, "DeleteObjects"},
      {"GET", "/b/k", {}, "GetObject"},
      {"GET", "/b/k?x-id=GetObject", {}, "GetObject"},
      {"GET", "/b//", {}, "GetObject"},
      {"GET", "/b/k/l?tagging", {}, "GetObjectTagging"},
      {"GET", "/b/k?attributes", {{"x-amz-object-attributes", "ETag"}}, "GetObjectAttributes"},
      {"GET", "/b/k?uploadId=u", {}, "ListParts"},
      {"HEAD", "/b/k", {}, "HeadObject"},
      {"PUT", "/b/k", {}, "PutObject"},
      {"PUT", "/b/k", {{"x-amz-copy-source", "/b/l"}}, "CopyObject"},
      {"PUT", "/b/k?partNumber=1&uploadId=u", {}, "UploadPart"},
      {"PUT", "/b/k?partNumber=1&uploadId=u", {{"x-amz-copy-source", "/b/l"}}, "UploadPartCopy"},
      {"POST", "/b/k?uploads", {}, "CreateMultipartUpload"},
      {"POST", "/b/k?uploadId=u", {}, "CompleteMultipartUpload"},
      {"DELETE", "/b/k?uploadId=u", {}, "AbortMultipartUpload"},
      {"DELETE", "/b/k", {}, "DeleteObject"},
      {"POST", "/b/k", {}, ""},
      {"PATCH", "/b/k", {}, ""},
  };
  for (const auto& [method, target, headers, operation] : kCases) {
    EXPECT_EQ(named(s3(method, target, "", headers), "s3"), *operation ? std::string("s3:") + operation : "")
        << method << " " << target;
  }
}

TEST(Call, WhatIsNotThere) {
  auto code = [](const Request& request, std::string_view signed_as) {
    try {
      require_operation(call_of(request, signed_as));
    } catch (const Fault& fault) { return fault.code(); }
    return std::string();
  };
  EXPECT_EQ(code(json("SageMaker.CreateNothing"), "sagemaker"), "UnknownOperationException");
  EXPECT_EQ(code(json("Nobody.CreateNothing"), "sagemaker"), "UnsupportedOperation");
  EXPECT_EQ(code(json(""), "sagemaker"), "UnsupportedOperation");
  EXPECT_EQ(code(form("Action=Nothing"), "iam"), "InvalidAction");
  EXPECT_EQ(code(form("Version=1"), "iam"), "InvalidAction");
  EXPECT_EQ(code(form("Action=DescribeInstances"), "ec2"), "UnsupportedOperation");
  EXPECT_EQ(code(s3("PATCH", "/b"), "s3"), "MethodNotAllowed");
  EXPECT_EQ(code(s3("GET", "/2015-03-31/functions"), "lambda"), "UnsupportedOperation");
  EXPECT_EQ(code({.method = "POST",
                  .target = "/service/G/operation/ListMetrics",
                  .headers = {{"smithy-protocol", "rpc-v2-cbor"}}},
                 "monitoring"),
            "UnsupportedOperation");
}

TEST(Codec, JsonIn) {
  EXPECT_EQ(
      decoded(
          json(
              "SageMaker.ListModels",
              R"({"MaxResults": 5, "Unknown": [1], "NextToken": null, "CreationTimeAfter": "2026-01-31T12:00:00Z"})"),
          "sagemaker"),
      R"({"MaxResults":5,"CreationTimeAfter":1769860800.0})");
  EXPECT_EQ(decoded(json("SageMaker.ListModels", ""), "sagemaker"), "{}");
  EXPECT_EQ(decoded(json("SageMaker.ListModels", R"({"MaxResults": 5.0, "CreationTimeAfter": 1769860800})"),
                    "sagemaker"),
            R"({"MaxResults":5,"CreationTimeAfter":1769860800.0})");
}

TEST(Codec, JsonOfTheWrongType) {
  auto message = [](std::string_view body) {
    try {
      return decoded(json("SageMaker.CreateModel", body), "sagemaker");
    } catch (const Fault& fault) {
      return fault.code() + ": " + fault.what();
    } catch (const base::Error& error) { return std::string(name(error.kind())); }
  };
  EXPECT_EQ(message(R"({"ModelName": 5})"),
            "SerializationException: NUMBER_VALUE can not be converted to a String at 'modelName'");
  EXPECT_EQ(message(R"({"PrimaryContainer": "x"})"),
            "SerializationException: STRING_VALUE can not be converted to a Structure at 'primaryContainer'");
  EXPECT_EQ(message(R"({"Tags": {}})"),
            "SerializationException: START_OBJECT can not be converted to a List at 'tags'");
  EXPECT_EQ(message(R"({"Tags": [{"Key": "a", "Value": []}]})"),
            "SerializationException: START_ARRAY can not be converted to a String at 'tags.1.member.value'");
  EXPECT_EQ(message(R"({"Tags": [null]})"),
            "SerializationException: NULL_VALUE can not be converted to a Structure at 'tags.1.member'");
  EXPECT_EQ(
      message(R"({"EnableNetworkIsolation": "true"})"),
      "SerializationException: STRING_VALUE can not be converted to a Boolean at 'enableNetworkIsolation'");
  EXPECT_EQ(message("[]"), "SerializationException: START_ARRAY can not be converted to a Structure");
  EXPECT_EQ(message("{"), "SerializationException: request:1:2: incomplete JSON");
  EXPECT_EQ(message("{\"ModelName\": \"\xff\"}"), "SerializationException: request:1:16: syntax error");
  std::string deep;
  for (int i = 0; i < 1000; ++i) deep += "{\"PrimaryContainer\":";
  EXPECT_EQ(message(deep), "SerializationException: request:1:1281: too deep");
}

TEST(Codec, FormIn) {
  EXPECT_EQ(
      decoded(form("Action=PutMetricData&Version=2010-08-01&Namespace=N+S&MetricData.member.10.MetricName=b&"
                   "MetricData.member.2.MetricName=a"
                   "&MetricData.member.2.Value=1.5&MetricData.member.2.Dimensions.member.1.Name=d&MetricData."
                   "member.2.Dimensions.member.1.Value=%26"
                   "&MetricData.member.2.Timestamp=2026-01-31T12%3A00%3A00Z&MetricData.member.2."
                   "StorageResolution=60"),
              "monitoring"),
      R"({"Namespace":"N S","MetricData":[{"MetricName":"a","Dimensions":[{"Name":"d","Value":"&"}],"Timestamp":1769860800.0,"Value":1.5,"StorageResolution":60},{"MetricName":"b"}]})");
  auto code = [](std::string_view body) {
    try {
      return decoded(form(body), "monitoring");
    } catch (const Fault& fault) { return fault.code(); }
  };
  EXPECT_EQ(code("Action=PutMetricData&MetricData.member.1.Value=x"), "MalformedInput");
  EXPECT_EQ(code("Action=PutMetricData&MetricData.member.1=x"), R"({"MetricData":[{}]})");
  EXPECT_EQ(code("Action=PutMetricData&Namespace.a=x"), "MalformedInput");
  std::string deep = "Action=PutMetricData&MetricData";
  for (int i = 0; i < 100; ++i) deep += ".member.1";
  EXPECT_EQ(code(deep + "=1"), "MalformedInput");
}

TEST(Codec, RestIn) {
  EXPECT_EQ(
      decoded(s3("PUT", "/b/a%20%2Fc/d+e?x-id=PutObject", "bytes",
                 {{"Content-Type", "text/plain"},
                  {"X-Amz-Meta-Aa", "1"},
                  {"x-amz-meta-aa", "2"},
                  {"If-None-Match", "*"},
                  {"Content-Length", "5"}}),
              "s3"),
      R"({"Bucket":"b","Key":"a /c/d+e","ContentLength":5,"ContentType":"text/plain","IfNoneMatch":"*","Metadata":{"aa":"1,2"}})");
  EXPECT_EQ(decoded(s3("GET", "/b?list-type=2&max-keys=7&prefix=a+b%2B&fetch-owner=true", ""), "s3"),
            R"({"Bucket":"b","MaxKeys":7,"Prefix":"a b+","FetchOwner":true})");
  EXPECT_EQ(decoded(s3("POST", "/b?delete",
                       "<?xml version='1.0'?><Delete xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><!-- x "
                       "--><Object><Key> a&amp;&lt;b </Key></Object>"
                       "<Object><Key>c</Key><Other/></Object><Quiet>true</Quiet></Delete>"),
                    "s3"),
            R"({"Bucket":"b","Delete":{"Objects":[{"Key":" a&<b "},{"Key":"c"}],"Quiet":true}})");
  EXPECT_EQ(decoded(s3("POST", "/endpoints/e/invocations", "body",
                       {{"Accept", "a"}, {"X-Amzn-SageMaker-Target-Variant", "v"}}),
                    "sagemaker"),
            R"({"EndpointName":"e","Accept":"a","TargetVariant":"v"})");
  auto code = [](std::string_view xml) {
    try {
      return decoded(s3("POST", "/b?delete", xml), "s3");
    } catch (const Fault& fault) { return fault.code(); }
  };
  for (std::string_view bad :
       {"<Delete>", "x", "<Delete><Object></Delete>", "<Delete><Quiet>maybe</Quiet></Delete>",
        "<Delete><Quiet><a/></Quiet></Delete>", "<Delete>\xff</Delete>",
        "<Delete><Object><Key>&#xd800;</Key></Object></Delete>",
        "<!DOCTYPE x [<!ENTITY e 'eee'>]><Delete><Object><Key>&e;</Key></Object></Delete>"}) {
    EXPECT_EQ(code(bad), "MalformedXML") << bad;
  }
  for (auto [name, value] : {std::pair{"x-amz-meta-a", "caf\xe9"},
                             {"Content-Type", "\xff"},
                             {"x-amz-website-redirect-location", "\xff"}})
    EXPECT_THROW(decoded(s3("PUT", "/b/k", "", {{name, value}}), "s3"), base::Error) << name;
  EXPECT_THROW(decoded(s3("GET", "/b?max-keys=many"), "s3"), base::Error);
}

TEST(Codec, CompressedBodies) {
  std::string body = R"({"MaxResults": 5})", packed(200, '\0');
  z_stream stream{};
  ASSERT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(body.data());
  stream.avail_in = static_cast<uInt>(body.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  ASSERT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  packed.resize(packed.size() - stream.avail_out);
  deflateEnd(&stream);
  auto request = json("SageMaker.ListModels", packed);
  request.headers.add("Content-Encoding", "gzip");
  EXPECT_EQ(decoded(request, "sagemaker"), R"({"MaxResults":5})");
  request.body = http::Body(packed.substr(0, packed.size() - 9));
  EXPECT_THROW(decoded(request, "sagemaker"), base::Error);
  request.body = http::Body(std::string(kMaxDocument + 1, ' '));
  EXPECT_THROW(decoded(request, "sagemaker"), Fault);
}

std::string body_of(const http::Response& response) { return std::get<std::string>(response.body); }

TEST(Codec, Out) {
  Value model =
      Value::object({{"Models", Value::array(std::vector<Value>{Value::object(
                                    {{"ModelName", "m"}, {"ModelArn", "arn"}, {"CreationTime", 1.5}})})},
                     {"NextToken", nullptr}});
  auto request = json("SageMaker.ListModels");
  auto answer = encode(call_of(request, "sagemaker"), model, "id-1");
  EXPECT_EQ(body_of(answer), R"({"Models":[{"ModelName":"m","ModelArn":"arn","CreationTime":1.5}]})");
  EXPECT_EQ(answer.headers.get("content-type"), "application/x-amz-json-1.1");
  EXPECT_EQ(answer.headers.get("x-amzn-requestid"), "id-1");
  EXPECT_THROW(encode(call_of(request, "sagemaker"), Value::object({{"Modelz", 1}}), "id"), base::Error);
  EXPECT_EQ(body_of(encode(call_of(json("SageMaker.DeleteModel"), "sagemaker"), {}, "id")), "");

  Value points =
      Value::object({{"Label", "<l>"},
                     {"Datapoints", Value::array(std::vector<Value>{Value::object(
                                        {{"Timestamp", 1769860800.0},
                                         {"Sum", 2.5},
                                         {"ExtendedStatistics", Value::object({{"p99", 1.0}})}})})}});
  EXPECT_EQ(
      body_of(encode(call_of(form("Action=GetMetricStatistics"), "monitoring"), points, "id-2")),
      R"(<GetMetricStatisticsResponse xmlns="http://monitoring.amazonaws.com/doc/2010-08-01/"><GetMetricStatisticsResult><Label>&lt;l&gt;</Label><Datapoints><member>)"
      R"(<Timestamp>2026-01-31T12:00:00.000Z</Timestamp><Sum>2.5</Sum><ExtendedStatistics><entry><key>p99</key><value>1.0</value></entry></ExtendedStatistics></member></Datapoints>)"
      R"(</GetMetricStatisticsResult><ResponseMetadata><RequestId>id-2</RequestId></ResponseMetadata></GetMetricStatisticsResponse>)");

  Value list = Value::object(
      {{"Name", "b"},
       {"IsTruncated", false},
       {"Contents", Value::array(std::vector<Value>{
                        Value::object({{"Key", "a&\x01"}, {"Size", 3}, {"LastModified", 1769860800.0}}),
                        Value::object({{"Key", "b"}})})}});
  answer = encode(call_of(s3("GET", "/b?list-type=2"), "s3"), list, "id-3");
  EXPECT_EQ(body_of(answer),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult "
            "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><IsTruncated>false</"
            "IsTruncated><Contents><Key>a&amp;&#x1;</Key>"
            "<LastModified>2026-01-31T12:00:00.000Z</LastModified><Size>3</Size></Contents><Contents><Key>b</"
            "Key></Contents><Name>b</Name></ListBucketResult>");
  EXPECT_EQ(answer.headers.get("x-amz-request-id"), "id-3");

  answer = encode(call_of(s3("GET", "/b/k"), "s3"),
                  Value::object({{"ETag", "\"e\""},
                                 {"LastModified", 1769860800.0},
                                 {"ContentLength", 9},
                                 {"Metadata", Value::object({{"a", "1"}})}}),
                  "id");
  EXPECT_EQ(answer.headers.get("etag"), "\"e\"");
  EXPECT_EQ(answer.headers.get("last-modified"), "Sat, 31 Jan 2026 12:00:00 GMT");
  EXPECT_EQ(answer.headers.get("x-amz-meta-a"), "1");
  EXPECT_FALSE(answer.headers.find("content-length"));
  EXPECT_EQ(encode(call_of(s3("DELETE", "/b/k"), "s3"), {}, "id").status, 204);
  EXPECT_EQ(body_of(encode(call_of(s3("PUT", "/b/k", "", {{"x-amz-copy-source", "/b/l"}}), "s3"),
                           Value::object({{"CopyObjectResult", Value::object({{"ETag", "e"}})}}), "id")),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<CopyObjectResult "
            "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><ETag>e</ETag></CopyObjectResult>");
}

TEST(Codec, Faults) {
  Fault fault("ResourceNotFound", 404, "no <such> thing", Value::object({{"Extra", "x"}}));
  auto answer = encode_fault(call_of(json("SageMaker.ListModels"), "sagemaker"), fault, "/", "id");
  EXPECT_EQ(answer.status, 404);
  EXPECT_EQ(body_of(answer), R"({"__type":"ResourceNotFound","message":"no <such> thing","Extra":"x"})");
  answer = encode_fault(call_of(json("GraniteServiceVersion20100801.ListMetrics"), "monitoring"),
                        Fault("MissingParameter", 400, "m"), "/", "id");
  EXPECT_EQ(body_of(answer), R"({"__type":"MissingRequiredParameterException","message":"m"})");
  EXPECT_EQ(answer.headers.get("x-amzn-query-error"), "MissingParameter;Sender");
  EXPECT_EQ(
      body_of(encode_fault(call_of(form("Action=GetCallerIdentity"), "sts"), fault, "/", "id")),
      R"(<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>ResourceNotFound</Code><Message>no &lt;such&gt; thing</Message></Error><RequestId>id</RequestId></ErrorResponse>)");
  EXPECT_EQ(
      body_of(encode_fault(call_of(s3("GET", "/b/k"), "s3"),
                           Fault("NoSuchKey", 404, "gone", Value::object({{"Key", "k"}})), "/b/k", "id")),
      "<?xml version=\"1.0\" "
      "encoding=\"UTF-8\"?>\n<Error><Code>NoSuchKey</Code><Message>gone</Message><Key>k</Key><Resource>/b/k</"
      "Resource><RequestId>id</RequestId></Error>");
  const Service* logs = find_service("logs");
  EXPECT_EQ(fault_of(base::Error(base::Kind::not_found, "x"), logs).code(), "ResourceNotFoundException");
  EXPECT_EQ(fault_of(fault, logs).code(), "ResourceNotFound");
  EXPECT_EQ(fault_of(base::Error(base::Kind::exists, "x"), find_service("iam")).code(),
            "EntityAlreadyExists");
}

std::string check(const Request& request, std::string_view signed_as) {
  Call call = call_of(request, signed_as);
  try {
    Validator().check(*call.operation, decode(call, request));
    return "";
  } catch (const Fault& fault) { return fault.code() + ": " + fault.what(); }
}

TEST(Validate, InTheWordsOfSageMaker) {
  auto model = [](std::string_view body) { return check(json("SageMaker.CreateModel", body), "sagemaker"); };
  EXPECT_EQ(
      model(
          R"({"ModelName": "m", "ExecutionRoleArn": "arn:aws:iam::123456789012:role/r", "PrimaryContainer": {"Image": "i", "Environment": {"A": "b"}}})"),
      "");
  EXPECT_EQ(model("{}"),
            "ValidationException: 1 validation error detected: Value null at 'modelName' failed to satisfy "
            "constraint: Member must not be null");
  EXPECT_EQ(model(R"({"ModelName": "-a"})"),
            "ValidationException: 1 validation error detected: Value '-a' at 'modelName' failed to satisfy "
            "constraint: Member must satisfy regular expression pattern: "
            "[a-zA-Z0-9]([\\-a-zA-Z0-9]*[a-zA-Z0-9])?");
  EXPECT_EQ(
      model(
          R"({"ModelName": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "Containers": [{"Mode": "x"}]})"),
      "ValidationException: 2 validation errors detected: Value "
      "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' at 'modelName' failed to satisfy "
      "constraint: "
      "Member must have length less than or equal to 63; Value 'x' at 'containers.1.member.mode' failed to "
      "satisfy constraint: Member must satisfy enum value set: [SingleModel, MultiModel]");
  EXPECT_EQ(model(R"({"ModelName": "m", "VpcConfig": {"Subnets": ["s"], "SecurityGroupIds": ["ok", "!"]}})"),
            "ValidationException: 1 validation error detected: Value '[ok, !]' at "
            "'vpcConfig.securityGroupIds' failed to satisfy constraint: Member must satisfy constraint: "
            "[Member must have length less than or equal to 32, Member must have length greater than or "
            "equal to 0, Member must satisfy regular expression pattern: [-0-9a-zA-Z]+]");
  EXPECT_EQ(model(R"({"ModelName": "m", "PrimaryContainer": {"Environment": {"1": "b"}}})"),
            "ValidationException: 1 validation error detected: Value '{1=b}' at "
            "'primaryContainer.environment' failed to satisfy constraint: Map keys must satisfy constraint: "
            "[Member must have length less than or equal to 1024, Member must have length greater than or "
            "equal to 0, Member must satisfy regular expression pattern: [a-zA-Z_][a-zA-Z0-9_]*]");
  EXPECT_EQ(check(json("SageMaker.ListModels", R"({"MaxResults": 101})"), "sagemaker"),
            "ValidationException: 1 validation error detected: Value '101' at 'maxResults' failed to satisfy "
            "constraint: Member must have value less than or equal to 100");
}

TEST(Validate, OtherServicesHaveOtherCodes) {
  EXPECT_TRUE(check(json("Logs_20140328.CreateLogGroup"), "logs")
                  .starts_with("InvalidParameterException: 1 validation"));
  EXPECT_TRUE(check(form("Action=GetRole"), "iam").starts_with("ValidationError: 1 validation"));
  EXPECT_TRUE(check(json("GraniteServiceVersion20100801.PutMetricData"), "monitoring")
                  .starts_with("ValidationError: 1 validation"));
  EXPECT_EQ(check(s3("POST", "/b?delete", "<Delete><Object/></Delete>"), "s3").substr(0, 13),
            "MalformedXML:");
  EXPECT_EQ(check(s3("PUT", "/b/k", "", {{"x-amz-storage-class", "WOOD"}}), "s3").substr(0, 20),
            "InvalidStorageClass:");
  EXPECT_EQ(check(s3("PUT", "/b/k", "", {{"x-amz-server-side-encryption", "aws:kms"}}), "s3"), "");
}

TEST(Validate, InstanceTypesAreOpen) {
  EXPECT_EQ(
      check(
          json(
              "SageMaker.CreateEndpointConfig",
              R"({"EndpointConfigName": "c", "ProductionVariants": [{"VariantName": "v", "ModelName": "m", "InstanceType": "ml.box.4cpu"}]})"),
          "sagemaker"),
      "");
}

}  // namespace
}  // namespace textmill::wire
