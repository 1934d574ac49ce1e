#pragma once

#include <string>
#include <vector>

namespace textmill::plan {

/// An instance of an endpoint as the reconciler finds it.
struct Instance {
  enum class Status { starting, ready, stopping };
  std::string id, variant;
  Status status = Status::starting;
  bool preparing = false;  // its model is being laid out: there is nothing yet that could be alive
  bool begun = false;      // its program was started at some time
  bool alive = false;
  bool healthy = false;    // a good answer from /ping
  bool hung = false;       // ready, but without any answer for too long
  double age = 0;          // seconds since it was made
  std::string trouble;     // why it could not be started
  std::string last_words;  // the last lines of its program, once it is gone
};

struct Variant {
  std::string name;
  int wanted = 1;
  double startup_limit = 240;  // seconds until the first good answer
  double pause = 0;            // seconds until the next instance may be started
};

struct Endpoint {
  enum class Status { creating, in_service, failed, deleting };
  Status status = Status::creating;
  std::vector<Variant> variants;
  std::vector<Instance> instances;
};

struct EndpointAction {
  enum class What {
    start,       // an instance of variant `of`
    ready,       // instance `of` takes requests from now on
    stop,        // instance `of` takes no more requests, and is asked to end
    forget,      // instance `of` is gone
    in_service,  // the endpoint
    fail,        // the endpoint, for `reason`
    remove,      // the endpoint
  } what;
  std::string of, reason;
  bool operator==(const EndpointAction&) const = default;
};

/// What is to be done, in that order. An endpoint that is being created fails with its first instance that does; one in
/// service has those that are gone replaced.
std::vector<EndpointAction> decide(const Endpoint& endpoint);

}  // namespace textmill::plan
