#pragma once

#include <stdexcept>
#include <string>

namespace textmill::base {

/// What kind of failure: it decides an exit status, an HTTP status, an AWS error code (each in one function).
enum class Kind {
  invalid,      // input that is wrong: a flag, a file, a field
  not_found,    // a name that nothing has
  exists,       // a name that is taken
  in_use,       // held by somebody else, such as a locked folder
  limit,        // a bound was reached: size, rate, queue
  conflict,     // the state does not allow it now
  denied,       // not allowed to this caller
  unavailable,  // try again later: loading, draining, a peer that does not answer
  cancelled,    // asked to stop
  internal,     // a broken promise of our own code
};

/// The one exception of textmill. Thrown where the cause is known, with a message that names what was wrong,
/// where, and what was expected. Caught in four places only: request dispatch, a session, a thread's top,
/// main.
class Error : public std::runtime_error {
 public:
  Error(Kind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  Kind kind() const { return kind_; }

 private:
  Kind kind_;
};

/// An errno as an Error: "WHAT: No such file or directory", with the kind that fits (ENOENT: not_found, ...).
Error system_error(const std::string& what, int code);

/// "invalid", "not_found", ...
const char* name(Kind kind);

/// The program's exit status for an error: 2 for bad usage or input (invalid, not_found, exists, in_use),
/// else 1.
int exit_status(Kind kind);

[[noreturn]] void check_failed(const char* condition, const char* file, int line);

}  // namespace textmill::base

/// A promise of our own code; input never reaches one. Throws Error{internal}.
#define TEXTMILL_CHECK(condition) \
  (static_cast<bool>(condition) ? void() : ::textmill::base::check_failed(#condition, __FILE__, __LINE__))
