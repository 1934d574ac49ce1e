// Any head can be read, routed and refused; what we sign, we verify, whatever the request.

#include <cstdlib>

#include "wire/authenticate.h"
#include "wire/call.h"
#include "wire/times.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace textmill;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  auto line = [&] {
    auto end = text.find('\n');
    auto out = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    return std::string(out);
  };
  http::Request request;
  request.method = line();
  request.target = "/" + line();
  while (!text.empty() && request.headers.size() < 20) {
    std::string field = line();
    auto colon = std::min(field.find(':'), field.size());
    // The HTTP parser lets nothing but tokens through; of those that mean something in a signature there is none.
    if (colon == 0 || field.substr(0, colon).find_first_of(";,=/ \t\"") != std::string::npos) continue;
    request.headers.add(field.substr(0, colon), field.substr(std::min(colon + 1, field.size())));
  }
  try {
    wire::Claim claim = wire::read_claim(request);
    wire::Call call = wire::find_call(request, claim.scope.service);
    wire::AccessKey key{"secret", "", {}};
    wire::Verifier verifier;
    base::WallTime now = *wire::parse_basic_time("20260131T120000Z");
    try {
      verifier.verify(request, claim, call.protocol, &key, now);
    } catch (const wire::Fault&) {}
    request.headers.remove("authorization");
    request.headers.remove("x-amz-security-token");
    request.headers.set("Host", "h");
    wire::sign(request, {"A", "secret", ""}, "us-east-1", "s3", now, wire::kUnsignedPayload);
    verifier.verify(request, wire::read_claim(request), wire::Protocol::rest_xml, &key, now);
  } catch (const wire::Fault& fault) {
    if (fault.code() == "SignatureDoesNotMatch") std::abort();
  } catch (const base::Error& error) {
    if (error.kind() == base::Kind::internal) std::abort();
  }
  return 0;
}
