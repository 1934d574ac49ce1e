#include "cli/server_call.h"

#include <fmt/format.h>

#include <filesystem>

#include "base/error.h"
#include "base/hash.h"
#include "http/client.h"

namespace textmill::cli {

using base::Error, base::Kind;
using format::Json;

namespace {

constexpr std::chrono::minutes kPatience{60};  // a backup copies all there is

Kind kind_of(int status) {
  switch (status) {
    case 403: return Kind::denied;
    case 404: return Kind::not_found;
    case 409: return Kind::exists;
    default: return status < 500 ? Kind::invalid : Kind::unavailable;
  }
}

}  // namespace

base::Path data_folder(const Values& values) {
  return std::filesystem::absolute(values.text("data-dir", default_data_folder().string()));
}

ServerFile require_server(const base::Path& folder) {
  auto server = running_server(folder);
  if (!server)
    throw Error(Kind::not_found,
                fmt::format("{}: no server runs on this folder; `textmill up` starts one", folder.string()));
  return *server;
}

Json call_server(const base::Path& folder, std::string_view method, std::string_view page, const Json& body) {
  ServerFile server = require_server(folder);
  std::string text = method == "GET" ? "" : format::to_text(body);
  http::Request request{.method = std::string(method),
                        .target = "/_textmill/" + std::string(page),
                        .headers = {{"Host", server.address.substr(server.address.find("//") + 2)},
                                    {"Content-Type", "application/json"}}};
  wire::sign(request, root_key(folder), server.region, "textmill", base::wall_now(), base::sha256_hex(text));
  request.headers.remove("Host");  // the client's
  http::Client client({.timeout = kPatience, .pinned = server.certificate});
  auto answer = client.send({.method = request.method,
                             .url = server.address + request.target,
                             .headers = request.headers,
                             .body = text});
  Json json = format::parse_json(answer.body, server.url + request.target);
  if (answer.status == 200) return json;
  throw Error(kind_of(answer.status),
              format::JsonView(json, request.target).get_string("error", answer.body));
}

}  // namespace textmill::cli
