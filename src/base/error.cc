#include "base/error.h"

#include <cerrno>
#include <system_error>

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

Error system_error(const std::string& what, int code) {
  auto kind = [&] {
    switch (code) {
      case ENOENT: return Kind::not_found;
      case EEXIST: return Kind::exists;
      case EACCES:
      case EPERM:
      case EROFS: return Kind::denied;
      case EINVAL:
      case EISDIR:
      case ENOTDIR:
      case ENAMETOOLONG:
      case ELOOP: return Kind::invalid;
      case EBUSY:
      case EADDRINUSE: return Kind::in_use;
      case EFBIG:
      case EMFILE:
      case ENFILE:
      case ENOMEM: return Kind::limit;
      default: return Kind::unavailable;
    }
  };
  return {kind(), what + ": " + std::generic_category().message(code)};
}

void check_failed(const char* condition, const char* file, int line) {
  throw Error(Kind::internal,
              std::string("broken promise: ") + condition + " at " + file + ":" + std::to_string(line));
}

}  // namespace textmill::base
