#include "base/error.h"

namespace textmill::base {

const char* name(Kind kind) {
  switch (kind) {
    case Kind::invalid: return "invalid";
    case Kind::not_found: return "not_found";
    case Kind::exists: return "exists";
    case Kind::in_use: return "in_use";
    case Kind::limit: return "limit";
    case Kind::conflict: return "conflict";
    case Kind::denied: return "denied";
    case Kind::unavailable: return "unavailable";
    case Kind::cancelled: return "cancelled";
    case Kind::internal: return "internal";
  }
  return "internal";
}

int exit_status(Kind kind) {
  switch (kind) {
    case Kind::invalid:
    case Kind::not_found:
    case Kind::exists:
    case Kind::in_use: return 2;
    default: return 1;
  }
}

void check_failed(const char* condition, const char* file, int line) {
  throw Error(Kind::internal, std::string("broken promise: ") + condition + " at " + file + ":" + std::to_string(line));
}

}  // namespace textmill::base
