#pragma once

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/error.h"
#include "base/time.h"
#include "fleet/attempt.h"
#include "fleet/journal.h"
#include "fleet/runner.h"
#include "format/archive.h"

namespace textmill::fleet {

using base::Path;
using namespace std::chrono_literals;

/// An attempt on a shell script, run by a runner in a child of this process.
struct RunnerTest : testing::Test {
  base::TemporaryFolder temporary{"runner-test"};
  AttemptFolder folder{temporary.path() / "a1"};
  Task task{.name = "test", .hidden = {temporary.path()}, .notes = {}};

  void script(const std::string& text) { task.command = {"/bin/sh", "-c", text}; }

  void start() {
    std::filesystem::create_directories(folder.path);
    write_task(folder.task(), task);
    again();
  }

  bool other_user = false;  // where this one is root, it is somebody else who runs and removes it

  void become_other() const {
    if (!other_user || ::geteuid() != 0) return;
    if (::setgroups(0, nullptr) != 0 || ::setgid(12345) != 0 || ::setuid(12345) != 0) ::_exit(99);
    ::prctl(PR_SET_DUMPABLE, 1);  // as after exec: its /proc is its own
  }

  /// The status of a process that runs the attempt; its own child goes on.
  int again() {
    if (other_user && ::geteuid() == 0) {
      for (const Path& path : {temporary.path(), folder.path, folder.task()})
        EXPECT_EQ(::chown(path.c_str(), 12345, 12345), 0);
    }
    pid_t pid = ::fork();
    if (pid == 0) {
      become_other();
      int status = 1, null = ::open("/dev/null", O_WRONLY);
      ::dup2(null, 1);
      ::dup2(null, 2);
      try {
        status = run_attempt(folder.path);
      } catch (const base::Error& error) { status = 10 + static_cast<int>(error.kind()); }
      ::_exit(status);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
  }

  std::vector<Event> events() {
    JournalPlace place;
    std::vector<Event> all;
    for (auto some = read_journal(folder.journal(), place); !some.empty();
         some = read_journal(folder.journal(), place))
      std::ranges::move(some, std::back_inserter(all));
    return all;
  }

  template <class F>
  void await(F&& condition) {
    auto end = base::steady_now() + 30s;
    while (!condition()) {
      ASSERT_LT(base::steady_now(), end);
      ::usleep(2000);
    }
  }

  /// Waits until nothing of it is left, and gives the last event.
  Event finish() {
    await([&] { return !is_alive(folder); });
    auto all = events();
    return all.empty() ? Event{} : all.back();
  }

  std::string log() {
    std::string out;
    for (const auto& event : events())
      if (event.what == "log") out += event.text("text") + "\n";
    return out;
  }

  /// Starts it in another folder and waits for its end.
  Event run(const std::string& name, const std::string& text) {
    folder.path = temporary.path() / name;
    script(text);
    start();
    return finish();
  }

  std::vector<std::string> kept(std::string_view of) {
    std::vector<std::string> names;
    for (const auto& event : events())
      if (event.what == "kept" && event.text("of") == of) names.push_back(event.text("name"));
    std::ranges::sort(names);
    return names;
  }

  /// What was packed as the model, unpacked.
  Path model() {
    Path to = folder.path / "unpacked";
    std::filesystem::create_directory(to);
    for (const auto& event : events())
      if (event.what == "kept" && event.text("name") == "model.tar.gz")
        format::extract_archive(folder.kept() / event.text("file"), to);
    return to;
  }

  void write(const Path& file, const std::string& text) {
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
};

}  // namespace textmill::fleet
