#include "fleet/runner.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <deque>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/time.h"
#include "contract/layout.h"
#include "contract/serving.h"
#include "fleet/artifacts.h"
#include "fleet/attempt.h"
#include "fleet/cache.h"
#include "fleet/feed.h"
#include "fleet/instance.h"
#include "fleet/journal.h"
#include "fleet/layout.h"
#include "fleet/limits.h"
#include "fleet/output.h"
#include "fleet/relay.h"
#include "fleet/shortage.h"
#include "fleet/task.h"

namespace textmill::fleet {

using base::Path;

namespace {

constexpr uint64_t kMostOutput = 64 << 20;  // bytes of lines that are kept, of each host;
constexpr uint64_t kMoreOutput =
    64 << 10;  // of one that serves, which may live for months, so many more each second
constexpr int kMostMetrics = 100'000;  // values that are kept, of each host
constexpr auto kLook = std::chrono::milliseconds(2000);
constexpr auto kLookAtPort = std::chrono::milliseconds(200);
constexpr auto kWaitForRoom = std::chrono::seconds(60);
constexpr auto kWaitForOwnRoom = std::chrono::seconds(5);  // of one that filled the disk itself
const uint16_t kUsualPort = contract::ServingEnvironment().port;

/// A running instance and what is known of it.
struct Running {
  std::string host;
  std::string group;  // of the kernel
  LimitGroups groups;
  Lines lines;
  std::optional<Instance> instance;
  bool output_open = true, news_open = true;
  uint64_t taken = 0, dropped = 0;
  base::SteadyTime refilled = base::steady_now();
  std::string last;  // line
  int metrics = 0;
  std::map<std::string, double> last_values;  // of metrics, beyond those that are kept
  bool spoke_of_address = false;              // that somebody else has
  bool over() const { return !output_open && !news_open; }
};

struct End {
  std::string outcome;  // completed, failed, stopped, timeout
  int status = 0;
  std::string text, by;  // program, user, platform
};

class Runner {
 public:
  Runner(AttemptFolder folder, Task task, JournalWriter& journal, int lock)
      : folder_(std::move(folder)),
        task_(std::move(task)),
        journal_(journal),
        metrics_(task_.metrics),
        lock_(lock) {}

  void run() {
    End end;
    try {
      watch_for_stop();
      if (auto port = task_.environment.find("SAGEMAKER_BIND_TO_PORT");
          !task_.training && port != task_.environment.end()) {
        port_ = static_cast<uint16_t>(std::stoi(port->second));
        if (task_.own_network)
          listener_ = listen_at(port_);
        else
          due_port_ = base::steady_now() + kLookAtPort;
      }
      journal_.add("phase", {{"phase", "Downloading"}});
      journal_.flush();
      lay_out();
      start_all(Walls::namespaces);
      follow();
      if (::geteuid() != 0)
        for (const auto& host : task_.hosts) open_up(folder_.root(host));
      end = judge();
    } catch (const base::Error& error) {
      bool ours = error.kind() == base::Kind::internal;
      end = {"failed", 0, words_of(error), ours ? "platform" : "user"};
    } catch (const std::exception& error) { end = {"failed", 0, words_of(error), "platform"}; }
    hosts_.clear();
    feeders_.reset();
    finish(end);
  }

 private:
  void log(const std::string& host, std::string_view text) {
    journal_.add("log", {{"host", host}, {"text", text.empty() ? " " : text}});
  }

  /// As the program knows the places.
  std::string words_of(const std::exception& error) {
    return shown(shown(error.what(), folder_.root(task_.hosts[0]), "/opt/ml/"), folder_.path);
  }

  /// What no program says.
  void note(const std::string& host, const std::string& text) {
    journal_.add("log", {{"host", host}, {"text", text}, {"note", true}});
  }

  void watch_for_stop() {
    inotify_ = base::Descriptor(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (!inotify_ || ::inotify_add_watch(inotify_.get(), folder_.path.c_str(), IN_CREATE | IN_MOVED_TO) < 0)
      throw base::system_error("inotify", errno);
    timer_ = base::Descriptor(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    if (!timer_) throw base::system_error("timerfd", errno);
  }

  void lay_out() {
    for (const auto& host : task_.hosts) {
      for (const auto& words : task_.notes) note(host, words);
      lay_out_host(folder_, task_, host);
    }
    artifacts_.emplace(folder_, task_, journal_);
  }

  void start_all(Walls walls) {
    hosts_.clear();
    feeders_.emplace(folder_, task_);
    // Hosts that reach nobody else reach each other: what they are started from has the network of their own.
    if (task_.own_network && task_.hosts.size() > 1 && walls == Walls::namespaces)
      network_is_shared_ = leave_network();
    for (const auto& host : task_.hosts) {
      Running& running = hosts_.emplace_back();
      running.host = host;
      running.group = fmt::format("{}-{}", folder_.path.filename().string(), host);
      running.groups = make_groups(running.group, task_.limits);
      if (walls == Walls::none) {
        log(host, without_walls(refused_, folder_.root(host)));
        copy_inputs(folder_, task_, host);
      }
      note(host, running.groups.said);
      Program program = program_of(folder_, task_, host, running.groups, lock_, walls);
      hand_over(folder_, task_, host, walls);
      if (network_is_shared_) program.view.own_network = false;
      if (listener_) {
        program.listener = listener_.get();
        program.ports = {kUsualPort};
        if (walls == Walls::namespaces)
          program.ports.insert(program.ports.begin(), port_);  // else that is here
        program.view.own_network = true;
      }
      running.instance.emplace(program, walls);
    }
    walls_ = walls;
    started_ = base::steady_now();
    shortage_.emplace(folder_.path);
  }

  bool all_over() const { return std::ranges::all_of(hosts_, &Running::over); }

  /// Until the last instance is gone.
  void follow() {
    while (!all_over()) {
      tick();
      journal_.flush();
      std::vector<pollfd> fds{{inotify_.get(), POLLIN, 0}, {timer_.get(), POLLIN, 0}};
      for (const Running& running : hosts_) {
        fds.push_back({running.output_open ? running.instance->output() : -1, POLLIN, 0});
        fds.push_back({running.news_open ? running.instance->news() : -1, POLLIN, 0});
      }
      feeders_->watch(fds);
      note_time();
      if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) throw base::system_error("poll", errno);
      char events[4096];
      while (::read(inotify_.get(), events, sizeof events) > 0) {}
      for (size_t i = 0; i < hosts_.size(); ++i) {
        if (fds[2 + 2 * i].revents) read_output(hosts_[i]);
        if (fds[3 + 2 * i].revents) hosts_[i].news_open = hosts_[i].instance->hear();
      }
      if (walls_ == Walls::namespaces && all_over() && !task_.needs_walls() &&
          !hosts_[0].instance->refused().empty()) {
        refused_ = hosts_[0].instance->refused();
        start_all(Walls::none);
      } else if (all_over() && !stopping_ && (again_ || wants_usual_port())) {
        again_ = false;
        start_all(walls_);
      }
    }
  }

  /// Sets the timer to the next moment at which something is due.
  void note_time() {
    auto next = base::steady_now() + std::chrono::hours(24);
    for (const auto& moment : {due_look_, due_kill_, due_port_})
      if (moment) next = std::min(next, *moment);
    if (!stopping_ && task_.most.count() > 0) next = std::min(next, started_ + task_.most);
    auto left = std::max(next - base::steady_now(), std::chrono::steady_clock::duration(1));
    auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
    itimerspec spec{};
    spec.it_value.tv_sec = seconds.count();
    spec.it_value.tv_nsec = (left - seconds).count();
    ::timerfd_settime(timer_.get(), 0, &spec, nullptr);
  }

  void tick() {
    auto now = base::steady_now();
    if (!announced_ && std::ranges::all_of(hosts_, [](const Running& r) { return r.instance->started(); })) {
      announced_ = true;
      journal_.add("phase", {{"phase", "Training"}});
    }
    if (due_kill_ && now >= *due_kill_) {
      for (Running& running : hosts_) running.instance->kill();
      due_kill_.reset();
    }
    if (!stopping_ && std::filesystem::exists(folder_.stop())) ask_to_end("stopped");
    if (feeders_->trouble() && !stopping_) ask_to_end("failed");
    if (!stopping_ && task_.most.count() > 0 && now >= started_ + task_.most) ask_to_end("timeout");
    if (!due_look_ || now >= *due_look_) {
      if (due_look_) look_around();
      due_look_ = now + kLook;
    }
    if (due_port_ && now >= *due_port_) look_at_port();
    // One host that failed ends the others.
    for (Running& running : hosts_)
      if (!stopping_ && running.over() && running.instance->status().value_or(-1) != 0 && !all_over()) {
        culprit_ = &running;
        ask_to_end("failed");
      }
  }

  /// A program that serves, but not where it was told to: it gets a network of its own, in which the usual port is free.
  void look_at_port() {
    due_port_ = base::steady_now() + kLookAtPort;
    if (is_listened_at(port_)) return due_port_.reset();
    if (!hosts_[0].instance->started() || !listens_at(hosts_[0].instance->process(), kUsualPort)) return;
    relay_port(fmt::format("listens at port {}, not at", kUsualPort));
    again_ = true;
    hosts_[0].instance->kill();
  }

  void relay_port(std::string_view why) {
    due_port_.reset();
    listener_ = listen_at(port_);
    log(hosts_[0].host,
        fmt::format("The program {} SAGEMAKER_BIND_TO_PORT={}: it is started again{}.", why, port_,
                    walls_ == Walls::namespaces ? " in a network of its own, which leads nowhere else" : ""));
  }

  /// It ended before it listened, as another program has that port.
  bool wants_usual_port() {
    if (!due_port_ || !hosts_[0].spoke_of_address) return false;  // who had it may be gone by now
    if (walls_ == Walls::namespaces)
      return relay_port("speaks of an address that is in use, and did not listen at"), true;
    log(hosts_[0].host,
        fmt::format("Port {} is taken. Where the system makes no network of its own for a program that "
                    "listens there, whatever SAGEMAKER_BIND_TO_PORT says, only one instance of it can run.",
                    kUsualPort));
    return false;
  }

  void ask_to_end(const std::string& why) {
    stopping_ = why;
    due_kill_ = base::steady_now() + task_.grace;
    for (Running& running : hosts_)
      if (running.news_open) running.instance->terminate();
  }

  /// What changes without an event: the disk, and folders that are synced.
  void look_around() {
    if (!stopping_ && shortage_->is_ours()) {
      full_ = true;
      log(hosts_[0].host, "The disk is full, and the program goes on writing: it is ended.");
      ask_to_end("failed");
      due_kill_ = base::steady_now();
    }
    artifacts_->sync(false);
  }

  void read_output(Running& running) {
    char piece[65536];
    ssize_t count = ::read(running.instance->output(), piece, sizeof piece);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    auto take = [&](std::string_view line) { take_line(running, line); };
    if (count > 0) return running.lines.feed({piece, static_cast<size_t>(count)}, take);
    running.lines.finish(take);
    running.output_open = false;
    say_dropped(running);
    say_last_values(running);
  }

  void say_dropped(Running& running) {
    if (running.dropped > 0)
      log(running.host,
          fmt::format("{} bytes of output beyond {} MiB were not kept.", running.dropped, kMostOutput >> 20));
    running.dropped = 0;
  }

  /// The last value of a metric is its final one, however many there were.
  void say_last_values(Running& running) {
    for (const auto& [name, value] : running.last_values)
      journal_.add("metric", {{"name", name}, {"value", value}});
    if (!running.last_values.empty())
      log(running.host, fmt::format("Of {} values of metrics, the first {} and the last were kept.",
                                    running.metrics, kMostMetrics));
  }

  /// A program that serves may go on to speak.
  void refill(Running& running) {
    auto now = base::steady_now();
    if (task_.training || now < running.refilled + std::chrono::seconds(1)) return;
    auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now - running.refilled);
    running.refilled += seconds;
    running.taken -= std::min(running.taken, static_cast<uint64_t>(seconds.count()) * kMoreOutput);
  }

  void take_line(Running& running, std::string_view line) {
    // Control characters take six bytes in the journal.
    size_t size = line.size() + 5 * static_cast<size_t>(
                                        std::ranges::count_if(line, [](char c) { return 0 <= c && c < 32; }));
    refill(running);
    if (running.taken + size <= kMostOutput) {
      say_dropped(running);
      running.taken += size + 1;
      log(running.host, line);
      if (!line.empty()) running.last = line;
    } else {
      running.dropped += line.size() + 1;
    }
    if (due_port_ && speaks_of_address(line, kUsualPort)) running.spoke_of_address = true;
    metrics_.find(line, [&](const std::string& name, double value) {
      if (running.metrics++ < kMostMetrics)
        journal_.add("metric", {{"name", name}, {"value", value}});
      else
        running.last_values[name] = value;
    });
  }

  /// How it ended, when all are gone.
  End judge() {
    for (const Running& running : hosts_) {
      if (!running.instance->not_started().empty())
        return {"failed", 0, running.instance->not_started(), "user"};
      const std::string& refused = running.instance->refused();
      if (const char* needed = task_.needs_walls(); needed && !refused.empty())
        return {"failed", 0, fmt::format("{} ({})", needed, refused), "user"};
      if (!refused.empty()) return {"failed", 0, refused, "platform"};
    }
    if (const auto& trouble = feeders_->trouble())
      return {"failed", 0, trouble->text, trouble->by_platform ? "platform" : "user"};
    if (full_)
      return {"failed", 1, "the disk is full: less than 256 MiB were left, and the program went on writing",
              "program"};
    const Running* worst = culprit_;
    for (const Running& running : hosts_)
      if (running.instance->status().value_or(137) != 0 && !worst) worst = &running;
    if (stopping_ && *stopping_ != "failed")
      return {*stopping_, worst ? worst->instance->status().value_or(137) : 0, "", ""};
    if (!worst) return {"completed", 0, "", ""};
    return {"failed", worst->instance->status().value_or(137), why(*worst), "program"};
  }

  std::string why(const Running& running) {
    if (std::string failure = artifacts_->failure_of(running.host); !failure.empty()) return failure;
    if (ran_out_of_memory(running.groups))
      return fmt::format("the program was killed, as it needed more than {} MiB of memory",
                         task_.limits.memory >> 20);
    return running.last;
  }

  /// Keeps what is to be, and ends the journal.
  void finish(End end) {
    for (const auto& host : task_.hosts)
      remove_groups(fmt::format("{}-{}", folder_.path.filename().string(), host));
    make_room(folder_, task_, Left::what_may_be_kept);
    if (artifacts_) keep(end);
    make_room(folder_, task_, Left::nothing);
    journal_.add("end",
                 {{"outcome", end.outcome}, {"status", end.status}, {"text", end.text}, {"by", end.by}});
    journal_.sync();
  }

  /// Where others have filled the disk, it waits for room a while, of which no event tells.
  void keep(End& end) {
    if (task_.pack != Task::Pack::nothing) journal_.add("phase", {{"phase", "Uploading"}});
    journal_.flush();
    for (auto begun = base::steady_now();; std::this_thread::sleep_for(kLookForRoom)) try {
        artifacts_->sync(true);
        if (task_.pack != Task::Pack::nothing) artifacts_->pack(end.outcome == "failed");
        return;
      } catch (const std::exception& error) {
        const bool full = is_of_full_disk(error, folder_.path),
                   ours = full && shortage_ && shortage_->is_ours();
        if (full && base::steady_now() < begun + (ours ? kWaitForOwnRoom : kWaitForRoom)) continue;
        const std::string words = (full ? "the disk is full: " : "") + words_of(error);
        if (end.outcome == "failed") return log(task_.hosts[0], "Not all was kept: " + words);
        end = {"failed", end.status, words, ours ? "user" : full ? "platform" : "program"};
        return;
      }
  }

  AttemptFolder folder_;
  const Task task_;
  JournalWriter& journal_;
  const Metrics metrics_;
  const int lock_;
  base::Descriptor inotify_, timer_;
  std::deque<Running> hosts_;           // they do not move
  std::optional<Artifacts> artifacts_;  // once there are folders
  Walls walls_ = Walls::namespaces;
  std::string refused_;
  base::SteadyTime started_;
  std::optional<base::SteadyTime> due_look_, due_kill_, due_port_;  // the last: until it listens
  uint16_t port_ = 0;                                               // of a program that serves
  std::optional<Feeders> feeders_;
  base::Descriptor listener_;  // there, for one that listens elsewhere
  bool again_ = false;         // it is to be started again
  std::optional<std::string> stopping_;
  const Running* culprit_ = nullptr;
  std::optional<Shortage> shortage_;
  bool network_is_shared_ = false, full_ = false, announced_ = false;
};

}  // namespace

int run_attempt(const Path& path) {
  ::close_range(3, ~0U, 0);  // nothing of the server's outlives it here
  AttemptFolder folder{std::filesystem::canonical(path)};
  Task task = read_task(folder.task());
  base::Descriptor lock = lock_attempt(folder);
  JournalWriter journal(folder.journal());
  pid_t pid = ::fork();
  if (pid < 0) throw base::system_error("fork", errno);
  if (pid > 0) return 0;
  ::setsid();
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGHUP, SIG_IGN);
  journal.begin();
  Runner(folder, std::move(task), journal, lock.get()).run();
  return 0;
}

}  // namespace textmill::fleet
