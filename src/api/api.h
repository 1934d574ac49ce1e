#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include "api/exchange.h"
#include "base/metrics.h"
#include "wire/authenticate.h"
#include "wire/validate.h"

namespace textmill::api {

/// All of AWS that we serve, behind one HTTP server: its dispatcher, its refusals, its log and metrics. Must outlive the
/// server.
class Api {
 public:
  Api(store::Store& store, const records::Account& account);
  Api(const Api&) = delete;
  ~Api();

  /// Once clients can be told the server's address: what serves endpoints, and jobs, is started and watched from here on.
  void start(fleet::JobOptions options);

  /// What http::Server is made of: dispatcher; the forms of errors outside handlers; the line of log per request. Body
  /// limits and the staging folder are set too.
  http::ServerOptions options();
  http::Dispatch dispatch();

  Keys& keys() { return keys_; }
  Platform& platform() { return platform_; }

 private:
  struct Served;

  std::variant<http::Accepted, http::Response> decide(const http::Request& head);
  http::Response answer(http::Request& request);
  http::Response serve(http::Request& request, wire::Call& call);
  http::Response own_page(http::Request& request);
  wire::Fault fault_of(const base::Error& error, const wire::Service* service) const;
  http::Response refuse(const http::Request& request, int status, const base::Error& error) const;
  void finished(const http::Finished& finished) const;

  Keys::Known authenticate(const http::Request& request, const wire::Claim& claim, wire::Protocol protocol,
                           wire::Verified& verified, std::string_view body_sha256, Keys::Depth depth);
  const Served& served(const wire::Call& call) const;

  Keys keys_;
  records::Tokens tokens_;
  records::Resources resources_;
  fleet::News news_;
  fleet::Router router_;
  fleet::Requirements requirements_;
  fleet::Containers containers_;
  fleet::Remover remover_;
  fleet::Endpoints endpoints_;
  fleet::Jobs jobs_;
  base::Turns completions_;
  Platform platform_;
  wire::Verifier verifier_;
  wire::Validator validator_;
  std::unordered_map<const wire::Operation*, Served> served_;
  std::unordered_map<const wire::Service*, const Family*> bodies_;  // families with rules of their own
  http::Handler handler_, own_handler_;
  base::Counter &good_, &refused_, &failed_;  // answered requests
};

}  // namespace textmill::api
