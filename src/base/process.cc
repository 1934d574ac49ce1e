#include "base/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <utility>

#include "base/error.h"

extern "C" {
#include <sys/pidfd.h>  // glibc 2.36 forgot that C++ reads it
}

namespace textmill::base {
namespace {

/// posix_spawn's two argument objects, freed at the end of the scope.
struct SpawnSettings {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  explicit SpawnSettings(bool group) {
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &all);
    int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | (group ? POSIX_SPAWN_SETPGROUP : 0);
    ::posix_spawnattr_setflags(&attributes, static_cast<short>(flags));
  }
  ~SpawnSettings() {
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
  }
};

std::vector<std::string> environment_of(const ProcessSpec& spec) {
  std::vector<std::string> out;
  for (char** entry = environ; spec.inherit_environment && *entry; ++entry) {
    std::string_view text = *entry;
    if (!spec.environment.contains(std::string(text.substr(0, text.find('='))))) out.emplace_back(text);
  }
  for (const auto& [name, value] : spec.environment) out.push_back(fmt::format("{}={}", name, value));
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  out.reserve(strings.size() + 1);
  for (std::string& s : strings) out.push_back(s.data());
  out.push_back(nullptr);
  return out;
}

/// waitpid's status as a shell shows it.
int exit_code(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

}  // namespace

Process::Process(const ProcessSpec& spec) : group_(spec.group) {
  TEXTMILL_CHECK(!spec.arguments.empty());
  SpawnSettings settings(spec.group);
  const int streams[3] = {spec.input, spec.output, spec.error};
  Descriptor theirs[3];
  for (int i = 0; i < 3; ++i) {
    if (streams[i] == kNull) {
      ::posix_spawn_file_actions_addopen(&settings.actions, i, "/dev/null", i == 0 ? O_RDONLY : O_WRONLY, 0);
    } else if (streams[i] == kPipe) {
      int ends[2];
      if (::pipe2(ends, O_CLOEXEC) != 0) throw system_error("pipe", errno);
      theirs[i] = Descriptor(ends[i == 0 ? 0 : 1]);
      pipes_[i] = Descriptor(ends[i == 0 ? 1 : 0]);
      ::posix_spawn_file_actions_adddup2(&settings.actions, theirs[i].get(), i);
    } else if (streams[i] >= 0) {
      ::posix_spawn_file_actions_adddup2(&settings.actions, streams[i], i);
    }
  }
  if (!spec.folder.empty()) ::posix_spawn_file_actions_addchdir_np(&settings.actions, spec.folder.c_str());
  auto arguments = spec.arguments, environment = environment_of(spec);
  int code = ::posix_spawnp(&pid_, arguments[0].c_str(), &settings.actions, &settings.attributes,
                            pointers(arguments).data(), pointers(environment).data());
  if (code != 0) { throw system_error("cannot start " + spec.arguments[0], code); }
}

Process::Process(Process&& other) noexcept { *this = std::move(other); }

Process& Process::operator=(Process&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(group_, other.group_);
  std::swap(pipes_, other.pipes_);
  std::swap(status_, other.status_);
  return *this;
}

Process::~Process() {
  for (Descriptor& pipe : pipes_) pipe.close();
  if (pid_ < 0) return;
  kill(SIGKILL);
  wait();
}

void Process::kill(int signal) {
  if (!status_) ::kill(group_ ? -pid_ : pid_, signal);
}

int Process::wait() {
  int status;
  while (!status_) {
    if (::waitpid(pid_, &status, 0) == pid_) {
      status_ = exit_code(status);
    } else if (errno != EINTR) {
      throw system_error("waitpid", errno);
    }
  }
  return *status_;
}

std::optional<int> Process::wait_for(std::chrono::milliseconds limit) {
  if (status_) return status_;
  Descriptor process(::pidfd_open(pid_, 0));
  if (!process) throw system_error("pidfd_open", errno);
  pollfd fd{process.get(), POLLIN, 0};
  if (::poll(&fd, 1, static_cast<int>(limit.count())) <= 0) return std::nullopt;
  return wait();
}

ProcessOutput run_process(ProcessSpec spec, std::string_view input, size_t limit) {
  // The input is a file in memory: unlike a pipe it needs no feeding, and no care for a child that stops
  // reading.
  Descriptor file(::memfd_create("input", MFD_CLOEXEC));
  if (!file || ::write(file.get(), input.data(), input.size()) != static_cast<ssize_t>(input.size()) ||
      ::lseek(file.get(), 0, SEEK_SET) != 0) {
    throw system_error("cannot keep the input of " + spec.arguments[0], errno);
  }
  spec.input = file.get();
  spec.output = spec.error = kPipe;
  Process process(spec);

  ProcessOutput result{};
  std::string* sinks[] = {&result.output, &result.error};
  pollfd fds[] = {{process.output(), POLLIN, 0}, {process.error(), POLLIN, 0}};
  while (fds[0].fd >= 0 || fds[1].fd >= 0) {
    if (::poll(fds, 2, -1) < 0) continue;
    for (int i = 0; i < 2; ++i) {
      if (fds[i].fd < 0 || !fds[i].revents) continue;
      char piece[65536];
      ssize_t n = ::read(fds[i].fd, piece, sizeof piece);
      if (n == 0) fds[i].fd = -1;
      if (n > 0) sinks[i]->append(piece, static_cast<size_t>(n));
      if (sinks[i]->size() > limit) {
        throw Error(Kind::limit, spec.arguments[0] + ": wrote more than " + std::to_string(limit) + " bytes");
      }
    }
  }
  result.status = process.wait();
  return result;
}

int64_t resident_memory() {
  long pages = 0;
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  if (!file || std::fscanf(file, "%*d %ld", &pages) != 1)
    throw Error(Kind::internal, "/proc/self/statm cannot be read");
  std::fclose(file);
  return pages * ::sysconf(_SC_PAGESIZE);
}

}  // namespace textmill::base
