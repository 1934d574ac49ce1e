// Signs requests for tests/golden/test_sigv4_vectors.py: a JSON line in, {"method", "target", "headers": [[name, value], ...],
// "signed", "payload", "time", "region", "service", "secret", "as_sent"}; one out: {"canonical", "string_to_sign", "signature"}.

#include <fmt/format.h>

#include <iostream>

#include "format/json.h"
#include "wire/sigv4.h"

using namespace textmill;

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    format::Json json = format::parse_json(line, "stdin");
    format::JsonView in(json, "stdin");
    http::Request request{.method = in.at("method").string(), .target = in.at("target").string()};
    for (const auto& header : in.at("headers").array()) {
      auto field = header.strings();
      request.headers.add(field[0], field[1]);
    }
    std::string time = in.at("time").string();
    wire::Scope scope{time.substr(0, 8), in.at("region").string(), in.at("service").string()};
    std::string canonical = wire::canonical_request(request, in.at("signed").strings(),
                                                    in.at("payload").string(), in.at("as_sent").boolean());
    std::string words = wire::string_to_sign(time, scope, canonical);
    fmt::print(
        "{}\n",
        to_text(format::Json::object(
            {{"canonical", canonical},
             {"string_to_sign", words},
             {"signature", wire::signature(wire::signing_key(in.at("secret").string(), scope), words)}})));
  }
}
