// Any body, in each protocol, is an input or an error that is the client's; an input that the models allow can be
// written as JSON and read back.

#include <cstdlib>

#include "wire/codec.h"
#include "wire/tree.h"
#include "wire/validate.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace textmill;
  struct Kind {
    const char *service, *operation, *method, *target;
    wire::Protocol protocol;
  };
  static constexpr Kind kKinds[] = {
      {"sagemaker", "CreateEndpointConfig", "POST", "/", wire::Protocol::json},
      {"logs", "PutLogEvents", "POST", "/", wire::Protocol::json},
      {"cloudwatch", "PutMetricData", "POST", "/", wire::Protocol::query},
      {"iam", "CreateRole", "POST", "/", wire::Protocol::query},
      {"s3", "DeleteObjects", "POST", "/b?delete", wire::Protocol::rest_xml},
      {"s3", "PutBucketLifecycleConfiguration", "PUT", "/b?lifecycle", wire::Protocol::rest_xml},
      {"s3", "PutObject", "PUT", "/b/k", wire::Protocol::rest_xml},
  };
  static const wire::Validator validator;
  if (size == 0) return 0;
  const Kind& kind = kKinds[data[0] % std::size(kKinds)];
  std::string body(reinterpret_cast<const char*>(data) + 1, size - 1);
  const wire::Service* service = wire::find_service(kind.service);
  wire::Call call{.service = service, .operation = service->find(kind.operation), .protocol = kind.protocol};
  http::Request request{.method = kind.method, .target = kind.target};
  if (call.operation->input().payload() &&
      call.operation->input().payload()->shape().type == wire::Type::blob) {
    request.headers = {
        {"Content-Type", body}, {"x-amz-meta-" + body, body}, {"Expires", body}, {"Content-Length", body}};
  } else {
    if (body.starts_with("\x1f\x8b")) request.headers.add("Content-Encoding", "gzip");
    request.body = http::Body(std::move(body));
  }
  try {
    wire::Value input = wire::decode(call, request);
    validator.check(*call.operation, input);
    if (kind.protocol != wire::Protocol::json) return 0;
    std::string text;
    wire::append_json(text, call.operation->input(), input);
    request.headers = {};
    request.body = http::Body(text);
    if (wire::decode(call, request) != input) std::abort();
  } catch (const base::Error& error) {
    if (error.kind() == base::Kind::internal) std::abort();
  }
  return 0;
}
