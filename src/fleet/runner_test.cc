#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/time.h"
#include "fleet/attempt.h"
#include "fleet/journal.h"
#include "fleet/runner.h"

namespace textmill::fleet {
namespace {

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

  /// The status of a process that runs the attempt; its own child goes on.
  int again() {
    pid_t pid = ::fork();
    if (pid == 0) {
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

  void write(const Path& file, const std::string& text) {
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
};

TEST_F(RunnerTest, FollowsAProgramToItsEnd) {
  task.metrics = {{"loss", "loss=([0-9.e+-]+)"}};
  script(
      "echo hello; echo loss=0.5 >&2; echo loss=nothing; echo m > model/m; echo $TMPDIR $FOO; pwd; hostname");
  task.environment = {{"FOO", "bar"}};
  start();
  Event end = finish();
  EXPECT_EQ(end.what, "end");
  EXPECT_EQ(end.text("outcome"), "completed");
  EXPECT_NE(log().find("hello\nloss=0.5\nloss=nothing\n/tmp bar\n/opt/ml\nalgo-1\n"), std::string::npos)
      << log();
  std::vector<std::string> phases;
  int metrics = 0, kept = 0;
  for (const auto& event : events()) {
    if (event.what == "phase") phases.push_back(event.text("phase"));
    if (event.what == "metric") {
      ++metrics;
      EXPECT_EQ(*event.body.find("value")->real(), 0.5);
    }
    if (event.what == "kept") {
      ++kept;
      EXPECT_EQ(event.text("name"), "model.tar.gz");
      EXPECT_TRUE(std::filesystem::exists(folder.kept() / event.text("file")));
    }
  }
  EXPECT_EQ(phases, (std::vector<std::string>{"Downloading", "Training", "Uploading"}));
  EXPECT_EQ(metrics, 1);
  EXPECT_EQ(kept, 1);
}

TEST_F(RunnerTest, AnAttemptRunsOnce) {
  script("sleep 100");
  task.grace = 0s;
  start();
  EXPECT_TRUE(is_alive(folder));
  EXPECT_EQ(again(), 10 + static_cast<int>(base::Kind::in_use));
  ask_to_stop(folder);
  EXPECT_EQ(finish().text("outcome"), "stopped");
  EXPECT_EQ(again(), 10 + static_cast<int>(base::Kind::exists));
}

TEST_F(RunnerTest, StopIsSigtermAndThenSigkill) {
  script("trap 'echo got it' TERM; echo ready; while true; do sleep 0.05; done");
  task.grace = 1s;
  start();
  await([&] { return log().find("ready") != std::string::npos; });
  ask_to_stop(folder);
  Event end = finish();
  EXPECT_EQ(end.text("outcome"), "stopped");
  EXPECT_EQ(end.integer("status"), 137);
  EXPECT_NE(log().find("got it"), std::string::npos);
}

TEST_F(RunnerTest, WhoExitsOnSigtermIsStoppedToo) {
  script("trap 'echo m > model/m; exit 0' TERM; echo ready; while true; do sleep 0.05; done");
  start();
  await([&] { return log().find("ready") != std::string::npos; });
  ask_to_stop(folder);
  EXPECT_EQ(finish().text("outcome"), "stopped");
}

TEST_F(RunnerTest, ATimeLimitEndsIt) {
  script("sleep 100");
  task.most = 1s;
  start();
  EXPECT_EQ(finish().text("outcome"), "timeout");
}

TEST_F(RunnerTest, WhenTheRunnerIsKilledNothingIsLeft) {
  script("(setsid sleep 4321 &) ; (trap '' TERM HUP; sleep 4321) & echo ready; wait");
  start();
  await([&] { return log().find("ready") != std::string::npos; });
  auto runner = static_cast<pid_t>(events()[0].integer("pid"));
  ASSERT_EQ(::kill(runner, SIGKILL), 0);
  EXPECT_NE(finish().what, "end");
  // The lock is free only now, when the last process is gone.
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::error_code gone;
    if (std::filesystem::exists(entry.path() / "root", gone)) {
      std::ifstream in(entry.path() / "cmdline");
      std::string line((std::istreambuf_iterator<char>(in)), {});
      EXPECT_EQ(line.find("4321"), std::string::npos) << entry.path();
    }
  }
}

TEST_F(RunnerTest, DaemonsEndWithTheProgram) {
  script("(setsid sleep 1000 >/dev/null 2>&1 &); exit 3");
  start();
  Event end = finish();
  EXPECT_EQ(end.text("outcome"), "failed");
  EXPECT_EQ(end.integer("status"), 3);
}

TEST_F(RunnerTest, FailuresSayWhy) {
  script("echo the reason > output/failure; echo noise; exit 4");
  start();
  EXPECT_EQ(finish().text("text"), "the reason\n");
  folder.path = temporary.path() / "a2";
  script("echo the last line; exit 4");
  start();
  EXPECT_EQ(finish().text("text"), "the last line");
  folder.path = temporary.path() / "a3";
  task.command = {"/no/such/program"};
  start();
  Event end = finish();
  EXPECT_EQ(end.text("by"), "user");
  EXPECT_EQ(end.text("text"), "cannot start /no/such/program: No such file or directory");
}

TEST_F(RunnerTest, InputIsCopyOnWrite) {
  write(folder.input("algo-1", "train") / "sub/a.txt", "original");
  task.input.channels["train"] = {};
  script(
      "cat input/data/train/sub/a.txt && echo changed > input/data/train/sub/a.txt && "
      "cp input/data/train/sub/a.txt model/ && rm -r input/data/train/sub && ls input/data/train");
  start();
  EXPECT_EQ(finish().text("outcome"), "completed") << log();
  EXPECT_EQ(base::read_file(folder.input("algo-1", "train") / "sub/a.txt"), "original");
  EXPECT_EQ(base::read_file(folder.root("algo-1") / "model/a.txt"), "changed\n");
}

TEST_F(RunnerTest, NothingOfTheMachineCanBeChangedOrSeen) {
  write(temporary.path() / "secret", "x");
  write(temporary.path() / "shown/file", "seen");
  task.visible = {temporary.path() / "shown"};
  std::string secret = (temporary.path() / "secret").string(), shown = (temporary.path() / "shown").string();
  script("cat " + secret + " && exit 10; cat " + shown + "/file || exit 11; echo x > " + shown +
         "/file && exit 12; " + "umount " + temporary.path().string() +
         " && exit 13; echo x > /usr/x && exit 14; " +
         "echo x > /proc/sys/kernel/core_pattern && exit 15; ls /dev/vda && exit 16; " +
         "mount -t tmpfs t /mnt && exit 17; mount -o remount,rw / && exit 18; " +
         "[ $(ls -d /proc/[0-9]* | wc -l) -lt 6 ] || exit 19; "
         "unshare -rm sh -c 'umount " +
         temporary.path().string() +
         "' && exit 20; "
         "[ $(ls /tmp | wc -l) -lt 2 ] || exit 21; exit 0");
  start();
  Event end = finish();
  EXPECT_EQ(end.text("outcome"), "completed") << end.integer("status") << log();
}

TEST_F(RunnerTest, LinksOutOfTheRootAreNotFollowed) {
  write(temporary.path() / "secret", "x");
  script("ln -s " + (temporary.path() / "secret").string() + " output/failure; exit 1");
  start();
  EXPECT_EQ(finish().text("text"), "");
  folder.path = temporary.path() / "a2";
  script("ln -s /etc/passwd model/m");
  start();
  Event end = finish();
  EXPECT_EQ(end.text("outcome"), "failed");
  EXPECT_EQ(end.text("text"), "/opt/ml/model/m: a link to /etc/passwd, which is not a file under /opt/ml");
  folder.path = temporary.path() / "a3";
  script("rmdir model && ln -s /etc model");
  start();
  EXPECT_EQ(finish().text("outcome"), "failed");
  folder.path = temporary.path() / "a4";
  script("echo x > code/x && ln -s /opt/ml/code/x model/m");
  start();
  EXPECT_EQ(finish().text("outcome"), "completed");
}

TEST_F(RunnerTest, BinaryAndEndlessOutputIsBounded) {
  script("head -c 100000000 /dev/zero; head -c 100000 /dev/urandom; echo; echo the end");
  start();
  EXPECT_EQ(finish().text("outcome"), "completed");
  EXPECT_LT(std::filesystem::file_size(folder.journal()), 100u << 20);
}

TEST_F(RunnerTest, AForkBombIsHeld) {
  task.limits.processes = 50;
  script("for i in $(seq 1 200); do sleep 100 & done; echo not reached; exit 0");
  start();
  Event end = finish();
  EXPECT_EQ(log().find("not reached"), std::string::npos);
  EXPECT_EQ(end.text("outcome"), "failed");
}

TEST_F(RunnerTest, AFileCannotFillTheDisk) {
  task.limits.file = 1 << 20;
  script("head -c 10000000 /dev/zero > model/big");
  start();
  EXPECT_EQ(finish().text("outcome"), "failed");
}

TEST_F(RunnerTest, SeveralHosts) {
  task.hosts = {"algo-1", "algo-2", "algo-3"};
  script("echo $(hostname) > model/$(hostname); getent hosts algo-2");
  start();
  EXPECT_EQ(finish().text("outcome"), "completed");
  for (const auto& host : task.hosts)
    EXPECT_EQ(base::read_file(folder.root("algo-1") / "model" / host), host + "\n");
  EXPECT_NE(log().find("127.0.0.2"), std::string::npos);
  folder.path = temporary.path() / "a2";
  script("[ $(hostname) = algo-2 ] && { echo bad; exit 5; }; sleep 1000");
  start();
  Event end = finish();
  EXPECT_EQ(end.text("outcome"), "failed");
  EXPECT_EQ(end.integer("status"), 5);
  EXPECT_EQ(end.text("text"), "bad");
}

TEST_F(RunnerTest, CheckpointsAreKeptAndRestored) {
  task.checkpoints = "/opt/ml/checkpoints";
  write(folder.restored() / "step", "7");
  script(
      "cat checkpoints/step; echo 8 > checkpoints/step; echo new > checkpoints/new; mkfifo checkpoints/pipe");
  start();
  EXPECT_EQ(finish().text("outcome"), "completed");
  EXPECT_NE(log().find("7"), std::string::npos);
  std::vector<std::string> names;
  for (const auto& event : events())
    if (event.what == "kept" && event.text("of") == "checkpoint") names.push_back(event.text("name"));
  std::ranges::sort(names);
  EXPECT_EQ(names, (std::vector<std::string>{"new", "step"}));
}

}  // namespace
}  // namespace textmill::fleet
