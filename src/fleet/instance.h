#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "fleet/limits.h"
#include "fleet/sandbox.h"

namespace textmill::fleet {

/// What runs in an instance.
struct Program {
  std::vector<std::string> command;
  std::map<std::string, std::string> environment;
  base::Path folder;  // it starts there
  View view;
  Limits limits;
  LimitGroups groups;
  int lock = -1;                // stays open until the last process of the instance is gone
  int listener = -1;            // what comes in there goes to one of `ports` in its network (relay.h)
  std::vector<uint16_t> ports;  // the first that somebody listens at
};

enum class Walls {
  namespaces,  // its own users, mounts, processes
  none,        // a process group; nothing is hidden
};

/// A program and all that it starts, under a process of ours that ends them all when the program ends, when told to, and
/// when this process is no more. To be made by a process of one thread.
class Instance {
 public:
  Instance(const Program& program, Walls walls);
  Instance(const Instance&) = delete;
  ~Instance();

  pid_t process() const { return pid_; }        // the first
  int output() const { return output_.get(); }  // stdout and stderr, not blocking; ends when all are gone
  int news() const { return news_.get(); }      // to be read with hear()

  /// What is new; false once all is told.
  bool hear();
  /// SIGTERM to the program.
  void terminate();
  /// SIGKILL to everything.
  void kill() { line_.close(); }

  /// Whether the walls stand and the program is about to run.
  bool started() const { return started_; }
  /// Of the program; 128 + n after signal n.
  std::optional<int> status() const { return status_; }
  /// Why the walls could not be built: the program was not started.
  const std::string& refused() const { return refused_; }
  /// Why the program could not be started.
  const std::string& not_started() const { return not_started_; }

 private:
  void order(char what);

  pid_t pid_ = -1;
  base::Descriptor line_, output_, news_;
  std::string told_;
  bool started_ = false;
  std::optional<int> status_;
  std::string refused_, not_started_;
};

}  // namespace textmill::fleet
