#include <fmt/format.h>

#include <algorithm>

#include "api/api.h"
#include "api/running.h"
#include "base/hash.h"
#include "base/metrics.h"

namespace textmill::api {

using format::Json;
using http::Request;
using http::Response;

namespace {

Response json(const Json& value) {
  return {.headers = {{"Content-Type", "application/json"}}, .body = format::to_text(value)};
}

Json shown(const Key& key) {
  return Json::object({{"access_key_id", key.id},
                       {"name", key.name},
                       {"role", api::name(key.role)},
                       {"created", base::iso8601(key.created)},
                       {"active", key.active}});
}

Json with_secret(const Key& key) {
  Json out = shown(key);
  out.set("secret_access_key", key.secret);
  return out;
}

Response health(Platform& platform, const Request&) {
  std::string trouble = platform.store.database().trouble();
  if (trouble.empty()) return json(Json::object({{"status", "ok"}}));
  Response response = json(Json::object({{"status", "failing"}, {"error", trouble}}));
  response.status = 503;
  return response;
}

Response metrics(Platform&, const Request&) {
  return {.headers = {{"Content-Type", "text/plain; version=0.0.4"}}, .body = base::metrics().text()};
}

Response list_keys(Platform& platform, const Request&) {
  Json::Array keys;
  for (const Key& key : platform.keys.list()) keys.push_back(shown(key));
  return json(Json::object({{"keys", std::move(keys)}}));
}

Response create_key(Platform& platform, const Request& request) {
  Json body = format::parse_json(request.body.text(), "request");
  format::JsonView view(body, "request");
  Role role = parse_role(view.at("role").string());
  return json(with_secret(platform.keys.create(role, view.get_string("name", api::name(role)))));
}

Response revoke_key(Platform& platform, const Request& request) {
  Json body = format::parse_json(request.body.text(), "request");
  platform.keys.revoke(format::JsonView(body, "request").at("access_key_id").string());
  return json(Json::object({}));
}

Response backup(Platform& platform, const Request& request) {
  Json body = format::parse_json(request.body.text(), "request");
  base::Path to = format::JsonView(body, "request").at("to").string();
  if (!to.is_absolute()) throw base::Error(base::Kind::invalid, "to: expected an absolute path");
  platform.store.backup(to);
  return json(Json::object({}));
}

struct Page {
  std::string_view method, path;
  bool open;  // to everybody; else to admins
  Response (*answer)(Platform&, const Request&);
};

constexpr Page kPages[] = {
    {"GET", "/_textmill/health", true, health},
    {"GET", "/_textmill/metrics", true, metrics},
    {"GET", "/_textmill/keys", false, list_keys},
    {"POST", "/_textmill/keys", false, create_key},
    {"POST", "/_textmill/keys/revoke", false, revoke_key},
    {"POST", "/_textmill/backup", false, backup},
    {"GET", "/_textmill/running", false, running_page},
    {"POST", "/_textmill/logs", false, logs_page},
    {"POST", "/_textmill/news", false, news_page},
    {"POST", "/_textmill/stop", false, stop_page},
    {"GET", "/_textmill/caches", false, caches_page},
    {"POST", "/_textmill/clean", false, clean_page},
};

}  // namespace

Response Api::own_page(Request& request) {
  std::string method = request.method == "HEAD" ? "GET" : request.method;
  auto page = std::ranges::find_if(
      kPages, [&](const Page& p) { return p.method == method && p.path == request.path(); });
  if (page == std::end(kPages))
    return http::error_response(
        404, {base::Kind::not_found, fmt::format("there is no page {} {}", request.method, request.path())});
  try {
    if (page->open) return page->answer(platform_, request);
    std::string sum = base::hex(request.body.digest(http::Digest::sha256));
    wire::Verified verified;
    Caller caller = authenticate(request, wire::read_claim(request), wire::Protocol::json, verified, sum,
                                 Keys::Depth::whole)
                        .caller;
    wire::Verifier::check_body(verified, wire::Protocol::json, sum);
    if (caller.role != Role::admin || !caller.attempt.empty())
      throw base::Error(base::Kind::denied, "only a key of the role admin may do that");
    request.note = fmt::format("textmill:{} {}", request.path(), caller.name);
    return page->answer(platform_, request);
  } catch (const base::Error& error) { return http::error_response(http::status_of(error.kind()), error); }
}

}  // namespace textmill::api
