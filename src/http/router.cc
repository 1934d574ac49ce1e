#include "http/router.h"

#include <algorithm>

namespace textmill::http {
namespace {

bool covers(std::string_view pattern, std::string_view path) {
  return pattern.ends_with("/*") ? path.starts_with(pattern.substr(0, pattern.size() - 1)) : pattern == path;
}

}  // namespace

std::variant<Accepted, Response> Router::find(const Request& head) const {
  std::string allow;
  for (const Route& route : routes_) {
    if (!covers(route.path, head.path())) continue;
    if (route.method == head.method || (route.method == "GET" && head.method == "HEAD"))
      return Accepted{&route.handler, route.body, route.blocking};
    allow += (allow.empty() ? "" : ", ") + route.method + (route.method == "GET" ? ", HEAD" : "");
  }
  std::string path(head.path());
  if (allow.empty()) return error_response(404, {base::Kind::not_found, "nothing is at " + path});
  auto response =
      error_response(405, {base::Kind::invalid, path + " does not take " + head.method + ", only " + allow});
  response.headers.add("Allow", allow);
  return response;
}

std::string Router::route_of(std::string_view path) const {
  auto found = std::ranges::find_if(routes_, [&](const Route& route) { return covers(route.path, path); });
  return found == routes_.end() ? "other" : found->path;
}

}  // namespace textmill::http
