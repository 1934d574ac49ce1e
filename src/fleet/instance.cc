#include "fleet/instance.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "base/error.h"
#include "fleet/relay.h"

namespace textmill::fleet {

namespace {

constexpr char kBegin = 'B', kTerminate = 'T';

struct Pipe {
  base::Descriptor in, out;
};

Pipe make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw base::system_error("pipe", errno);
  return {base::Descriptor(ends[0]), base::Descriptor(ends[1])};
}

/// The ends that the first process of an instance has.
struct Ends {
  int line, news, output;
};

void tell(int news, char what, const std::string& text) {
  std::string line = what + text;
  std::ranges::replace(line, '\n', ' ');
  line.resize(std::min<size_t>(line.size(), 2000));
  line += '\n';
  [[maybe_unused]] ssize_t told = ::write(news, line.data(), line.size());  // else nobody listens any more
}

/// Why a program did not start, to who wrote it.
std::string not_started(const Program& program, const User& user, int error) {
  std::string what = base::system_error("cannot start " + program.command[0], error).what();
  if (error == EACCES && user.other)
    what += fmt::format(
        " (the server is root, so programs run as the user {}, who must be allowed to read this one and to "
        "enter its folders)",
        user.user);
  if (error == ENOENT && user.other && ::access(program.command[0].c_str(), F_OK) == 0)
    what +=
        " (what its first line, \"#!\", names is not there for it: the server is root, so of /home and /root "
        "a "
        "program sees itself alone)";
  return what;
}

void close_all_but(std::vector<int> kept) {
  std::ranges::sort(kept);
  unsigned from = 3;
  for (int fd : kept) {
    if (fd < 3) continue;
    if (static_cast<unsigned>(fd) > from) ::close_range(from, static_cast<unsigned>(fd) - 1, 0);
    from = static_cast<unsigned>(fd) + 1;
  }
  ::close_range(from, ~0U, 0);
}

[[noreturn]] void run(const Program& program, const std::vector<base::Descriptor>& groups, const Ends& ends,
                      Walls walls, const User& user) {
  try {
    ::setsid();
    join(groups);
    apply(program.groups, program.limits);
    if (walls == Walls::none) become(user);
    if (walls == Walls::namespaces || user.other) drop_privileges();
    base::Descriptor null = base::open_file("/dev/null", O_RDONLY);
    ::dup2(null.get(), 0);
    ::dup2(ends.output, 1);
    ::dup2(ends.output, 2);
    if (::chdir(program.folder.c_str()) != 0) throw base::system_error(program.folder.string(), errno);
    ::clearenv();
    for (const auto& [name, value] : program.environment) ::setenv(name.c_str(), value.c_str(), 1);
    std::vector<char*> arguments;
    for (const auto& argument : program.command) arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    for (int signal = 1; signal < NSIG; ++signal) std::signal(signal, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::execvp(arguments[0], arguments.data());
    tell(ends.news, 'X', not_started(program, user, errno));
  } catch (const std::exception& error) { tell(ends.news, 'X', error.what()); }
  ::_exit(127);
}

/// Kills what still runs below this process until nothing does. In its own namespace that is everything; without one,
/// what lost its parent has become our child.
void end_all(Walls walls) {
  while (true) {
    if (walls == Walls::namespaces) {
      ::kill(-1, SIGKILL);
    } else {
      std::string children;
      std::string file = fmt::format("/proc/self/task/{}/children", ::getpid());
      children = base::read_file(file, 1 << 20);
      for (const char* at = children.c_str(); *at;) {
        char* end = nullptr;
        auto pid = static_cast<pid_t>(std::strtol(at, &end, 10));
        if (end == at) break;
        ::kill(pid, SIGKILL);
        at = end;
      }
    }
    while (::waitpid(-1, nullptr, 0) < 0)
      if (errno == ECHILD) return;
  }
}

/// Waits for the program's end, for orders, for the end of the runner.
[[noreturn]] void watch(pid_t program, const Ends& ends, int signals, Walls walls) {
  std::optional<int> status;
  while (!status) {
    pollfd fds[] = {{ends.line, POLLIN, 0}, {signals, POLLIN, 0}};
    if (::poll(fds, 2, -1) < 0) continue;
    char order = 0;
    if (fds[0].revents && ::read(ends.line, &order, 1) <= 0) break;
    if (order == kTerminate) ::kill(program, SIGTERM);
    signalfd_siginfo info;
    if (fds[1].revents) [[maybe_unused]]
      ssize_t got = ::read(signals, &info, sizeof info);
    int code = 0;
    for (pid_t pid; (pid = ::waitpid(-1, &code, WNOHANG)) > 0;)
      if (pid == program) status = WIFEXITED(code) ? WEXITSTATUS(code) : 128 + WTERMSIG(code);
  }
  end_all(walls);
  if (status) tell(ends.news, 'S', std::to_string(*status));
  ::_exit(0);
}

/// The first process of an instance. Everything it has open, but what is named, is closed; so the runner's end of the
/// line is the only one.
[[noreturn]] void be_first(const Program& program, std::vector<base::Descriptor> groups, const Ends& ends,
                           Walls walls, const User& user) {
  try {
    std::vector<int> kept{ends.line, ends.news, ends.output, program.lock, program.listener};
    for (const auto& door : groups) kept.push_back(door.get());
    close_all_but(kept);
    ::prctl(PR_SET_NAME, "textmill-init");
    sigset_t all;
    sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, nullptr);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    base::Descriptor signals(::signalfd(-1, &child, SFD_CLOEXEC));
    if (!signals) throw base::system_error("signalfd", errno);
    char order = 0;
    if (::read(ends.line, &order, 1) != 1) ::_exit(1);  // the runner is gone, or said why
    if (walls == Walls::namespaces)
      enter(program.view, user);
    else if (::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
      throw base::system_error("subreaper", errno);
    pid_t pid = ::fork();
    if (pid < 0) throw base::system_error("fork", errno);
    if (pid == 0) run(program, groups, ends, walls, user);
    groups.clear();
    if (program.listener >= 0 && ::fork() == 0) {
      close_all_but({program.listener, program.lock});
      relay(program.listener, program.ports, walls == Walls::namespaces ? 0 : ::getppid());
    }
    ::close(ends.output);
    tell(ends.news, 'G', "");
    watch(pid, ends, signals.get(), walls);
  } catch (const std::exception& error) { tell(ends.news, 'E', error.what()); }
  ::_exit(1);
}

}  // namespace

Instance::Instance(const Program& program, Walls walls) {
  Pipe line = make_pipe(), news = make_pipe(), output = make_pipe();
  auto groups = doors(program.groups);  // from out here: a mount that is written to cannot become read-only
  ::fcntl(output.in.get(), F_SETFL, O_NONBLOCK);
  const User user = program_user();
  int flags = walls == Walls::namespaces ? clone_flags(program.view) : 0;
  auto pid = static_cast<pid_t>(
      ::syscall(SYS_clone, static_cast<unsigned long>(flags | SIGCHLD), nullptr, nullptr, nullptr, nullptr));
  if (pid == 0)
    be_first(program, std::move(groups), {line.in.get(), news.out.get(), output.out.get()}, walls, user);
  pid_ = pid;
  line_ = std::move(line.out);
  news_ = std::move(news.in);
  output_ = std::move(output.in);
  try {
    if (pid < 0) throw base::system_error("namespaces", errno);
    if (walls == Walls::namespaces) let_be(pid, user);
    order(kBegin);
  } catch (const base::Error& error) {
    refused_ = error.what();
    kill();
  }
}

Instance::~Instance() {
  line_.close();
  if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
}

bool Instance::hear() {
  char piece[4096];
  ssize_t count = ::read(news_.get(), piece, sizeof piece);
  if (count < 0 && errno == EINTR) return true;
  if (count > 0) told_.append(piece, static_cast<size_t>(count));
  for (size_t end; (end = told_.find('\n')) != told_.npos; told_.erase(0, end + 1)) {
    std::string text = told_.substr(1, end - 1);
    if (told_[0] == 'G') started_ = true;
    if (told_[0] == 'E') refused_ = text;
    if (told_[0] == 'X') not_started_ = text;
    if (told_[0] == 'S') status_ = std::stoi(text);
  }
  return count > 0;
}

void Instance::terminate() { order(kTerminate); }

void Instance::order(char what) {
  // An instance that is gone does not read any more: SIGPIPE is ignored here, and its end comes as news.
  [[maybe_unused]] ssize_t told = ::write(line_.get(), &what, 1);
}

}  // namespace textmill::fleet
