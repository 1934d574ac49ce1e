#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"

namespace textmill::base {

/// What a child's standard stream is: one of these, or an open descriptor.
enum Stream : int { kInherit = -1, kNull = -2, kPipe = -3 };

struct ProcessSpec {
  std::vector<std::string> arguments;              // arguments[0] is a path, or a name searched in PATH
  std::map<std::string, std::string> environment;  // over the one of this process
  bool inherit_environment = true;
  Path folder;  // working folder; empty: that of this process
  int input = kNull, output = kInherit, error = kInherit;
  bool group = false;  // it leads a process group of its own, to which kill() and the destructor's SIGKILL go
};

/// A child process, with no signal blocked and default handlers. Killed (SIGKILL) and reaped by the
/// destructor if it still runs. Throws not_found etc. when the program cannot be started.
class Process {
 public:
  explicit Process(const ProcessSpec& spec);
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  ~Process();

  pid_t pid() const { return pid_; }
  /// This process's ends of the pipes that the spec asked for, else -1.
  int input() const { return pipes_[0].get(); }
  int output() const { return pipes_[1].get(); }
  int error() const { return pipes_[2].get(); }
  /// The child sees the end of its input.
  void close_input() { pipes_[0].close(); }

  /// Sends a signal, unless the process was already reaped.
  void kill(int signal);
  /// Waits for the end. The exit status, or 128 + n after signal n.
  int wait();
  /// The same, but nothing if it still runs after `limit`.
  std::optional<int> wait_for(std::chrono::milliseconds limit);

 private:
  pid_t pid_ = -1;
  bool group_ = false;
  Descriptor pipes_[3];
  std::optional<int> status_;
};

/// Bytes of this process that are in memory now.
int64_t resident_memory();

struct ProcessOutput {
  int status;
  std::string output, error;
};

/// Runs a process to its end with `input` to read, and keeps what it writes: at most `limit` bytes of each
/// stream (beyond it throws limit, and the process is killed).
ProcessOutput run_process(ProcessSpec spec, std::string_view input = {}, size_t limit = size_t{64} << 20);

}  // namespace textmill::base
