#pragma once

#include <optional>
#include <string>
#include <variant>

namespace textmill::plan {

/// A job's last attempt, as it is found.
enum class AttemptState {
  none,       // there was no attempt yet, or the next one is due
  committed,  // a row; no runner ever began it
  running,    // its runner holds the lock
  ended,      // its journal says how
  lost,       // begun, and gone without an end
};

/// How an attempt ended.
struct AttemptEnd {
  std::string outcome;  // completed, failed, stopped, timeout
  int status = 0;       // of the program
  std::string text;     // why, if failed
  std::string by;       // who is to blame then: program, user, platform
};

/// Times are seconds, in any one scale.
struct Job {
  bool stopping = false;  // somebody asked for its end
  AttemptState attempt = AttemptState::none;
  AttemptEnd end;
  int retries = 0;  // that are left
  double created = 0;
  double ran = 0;                   // in attempts that are over
  double most_run = 86400;          // MaxRuntimeInSeconds
  std::optional<double> most_wait;  // MaxWaitTimeInSeconds: from its creation to its end
  std::optional<double> most_pending;
  bool ever_ran = false;
  double cpus = 1;  // that an attempt takes
};

struct Machine {
  double cpus = 1, used = 0;
  bool awaited = false;  // by a job that was made earlier
};

struct Nothing {
  bool operator==(const Nothing&) const = default;
};
/// Commit an attempt that may run that long, and start its runner.
struct Start {
  double most = 0;
  bool operator==(const Start&) const = default;
};
/// Start the runner of the attempt that was committed.
struct Spawn {
  bool operator==(const Spawn&) const = default;
};
struct Wait {
  std::string message;
  bool operator==(const Wait&) const = default;
};
struct AskToStop {
  bool operator==(const AskToStop&) const = default;
};
/// Close this attempt: another is to follow.
struct Retry {
  std::string message;
  bool operator==(const Retry&) const = default;
};
struct Finish {
  std::string status, secondary, reason;  // Completed, Stopped, Failed; the reason if failed
  bool operator==(const Finish&) const = default;
};
using JobAction = std::variant<Nothing, Start, Spawn, Wait, AskToStop, Retry, Finish>;

/// What to do about a job now.
JobAction decide(const Job& job, const Machine& machine, double now);

/// When to look at it again though nothing happens.
std::optional<double> next_look(const Job& job);

}  // namespace textmill::plan
