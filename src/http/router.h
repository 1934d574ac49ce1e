#pragma once

#include <string>
#include <vector>

#include "http/server.h"

namespace textmill::http {

struct Route {
  std::string method;
  std::string path;  // exact; one that ends in "/*" takes all below it
  Handler handler;
  BodyRules body = {};
  bool blocking = true;
};

/// Method and path to handler. An unknown path is 404, a known one with another method 405 with Allow; GET routes
/// answer HEAD too. Must outlive the server that dispatches by it.
class Router {
 public:
  explicit Router(std::vector<Route> routes) : routes_(std::move(routes)) {}
  std::variant<Accepted, Response> find(const Request& head) const;
  /// The path of the route that covers `path`, for metrics; "other" where none does.
  std::string route_of(std::string_view path) const;
  Dispatch dispatch() const {
    return [this](const Request& head) { return find(head); };
  }

 private:
  std::vector<Route> routes_;
};

}  // namespace textmill::http
