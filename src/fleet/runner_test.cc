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
#include "fleet/relay.h"
#include "fleet/runner.h"
#include "format/archive.h"

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

  bool other_user = false;  // where this one is root, it is somebody else who runs and removes it

  void become_other() const {
    if (!other_user || ::geteuid() != 0) return;
    if (::setgroups(0, nullptr) != 0 || ::setgid(12345) != 0 || ::setuid(12345) != 0) ::_exit(99);
    ::prctl(PR_SET_DUMPABLE, 1);  // as after exec: its /proc is its own
  }

  /// The status of a process that runs the attempt; its own child goes on.
  int again() {
    if (other_user && ::geteuid() == 0)
      for (const Path& path : {temporary.path(), folder.path, folder.task()})
        EXPECT_EQ(::chown(path.c_str(), 12345, 12345), 0);
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

TEST_F(RunnerTest, WhateverItLeavesItsEndIsTold) {
  Event end = run("loop", "rmdir output/data; ln -s data output/data");
  EXPECT_EQ(end.text("text"), "/opt/ml/output/data: there is a link on the way to it");
  EXPECT_EQ(kept("model"), (std::vector<std::string>{"model.tar.gz"}));
  end = run("reason", "rmdir output/data; ln -s data output/data; echo boo > output/failure; exit 3");
  EXPECT_EQ(end.text("text"), "boo\n");
  EXPECT_EQ(end.integer("status"), 3);
  EXPECT_EQ(run("fifo", "mkfifo model/f").text("text"), "/opt/ml/model/f: neither a file nor a folder");
}

TEST_F(RunnerTest, FoldersThatAProgramClosedAreKeptAndRemoved) {
  other_user = true;
  EXPECT_EQ(run("data", "chmod 000 output/data").text("outcome"), "completed");
  EXPECT_EQ(
      run("failure", "echo mine > output/failure; chmod 000 output/failure output; exit 4").text("text"),
      "mine\n");
  Event end = run("model",
                  "mkdir -p model/a/b /tmp/x/y; echo m > model/a/b/m; chmod 000 model/a/b/m model/a/b; "
                  "chmod 500 model/a; chmod 000 /tmp/x");
  EXPECT_EQ(end.text("outcome"), "completed") << end.text("text");
  EXPECT_EQ(base::read_file(model() / "a/b/m"), "m\n");
  std::filesystem::remove_all(model());
  pid_t pid = ::fork();
  if (pid == 0) {
    become_other();
    try {
      remove_attempt(folder);
    } catch (const std::exception&) { ::_exit(1); }
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_FALSE(std::filesystem::exists(folder.path));
}

TEST_F(RunnerTest, NamesThatCannotBeKeys) {
  task.checkpoints = "/opt/ml/checkpoints";
  Event end = run("checkpoint", "echo x > \"checkpoints/$(printf '\\377')\"; echo y > checkpoints/y");
  EXPECT_EQ(end.text("outcome"), "completed");
  EXPECT_EQ(kept("checkpoint"), (std::vector<std::string>{"y"}));
  EXPECT_NE(log().find("/opt/ml/checkpoints/\uFFFD: the name of an object is UTF-8"), std::string::npos)
      << log();
  task.pack = Task::Pack::files;
  end = run("model", "echo x > \"model/$(printf '\\377')\"");
  EXPECT_EQ(end.text("text"), "/opt/ml/model/\uFFFD: the name of an object is UTF-8");
  EXPECT_EQ(end.text("by"), "program");
}

TEST_F(RunnerTest, LinksInTheModelAreKept) {
  task.input.channels["train"] = {};
  for (const char* name : {"archive", "files"})
    write(temporary.path() / name / "algo-1/input/train/vocab.txt", "words");
  const std::string links =
      "cd model; mkdir checkpoint-5; echo w > checkpoint-5/w; ln -s checkpoint-5 latest; ln -s $PWD/latest "
      "best; "
      "ln -s checkpoint-5/w w; ln -s /opt/ml/input/data/train/vocab.txt vocab.txt; "
      "echo new > ../input/data/train/new; ln -s ../input/data/train/new new";
  Event end = run("archive", links);
  EXPECT_EQ(end.text("text"), "");
  Path got = model();
  EXPECT_EQ(std::filesystem::read_symlink(got / "latest"), "checkpoint-5");
  EXPECT_EQ(base::read_file(got / "best/w") + base::read_file(got / "w"), "w\nw\n");
  EXPECT_EQ(base::read_file(got / "vocab.txt") + base::read_file(got / "new"), "wordsnew\n");
  task.pack = Task::Pack::files;
  end = run("files", links);
  EXPECT_EQ(end.text("text"), "");
  EXPECT_EQ(kept("model"), (std::vector<std::string>{"checkpoint-5/w", "new", "vocab.txt", "w"}));
  EXPECT_NE(log().find("/opt/ml/model/latest: a link to a folder, which is no object"), std::string::npos);
  task.pack = Task::Pack::archives;
  EXPECT_EQ(run("self", "ln -s /opt/ml/model model/self").text("text"),
            "/opt/ml/model/self: a link to /opt/ml/model, a folder that does not lie beside or below it");
  EXPECT_EQ(run("out", "ln -s /etc/passwd input/data/train/p; ln -s /opt/ml/input/data/train/p model/p")
                .text("text"),
            "/opt/ml/model/p: a link to /opt/ml/input/data/train/p, which is not a file under /opt/ml");
}

TEST_F(RunnerTest, CheckpointsBehindALinkAreNotLookedAt) {
  write(temporary.path() / "secret-name", "x");
  write(temporary.path() / "a1/restored/old", "x");
  task.checkpoints = "/opt/ml/checkpoints";
  script("rm -r checkpoints; ln -s " + temporary.path().string() + " checkpoints");
  start();
  EXPECT_EQ(finish().text("outcome"), "completed");
  EXPECT_EQ(log().find("secret-name"), std::string::npos) << log();
  EXPECT_NE(log().find("/opt/ml/checkpoints: there is a link on the way to it"), std::string::npos) << log();
  EXPECT_FALSE(std::ranges::any_of(events(), [](const Event& event) { return event.what == "gone"; }));
}

TEST_F(RunnerTest, CheckpointsOfAllHosts) {
  task.hosts = {"algo-1", "algo-2"};
  task.checkpoints = "/opt/ml/checkpoints";
  write(temporary.path() / "a1/restored/ours", "x");
  write(temporary.path() / "a1/restored/shared", "x");
  script(
      "echo $(hostname) > checkpoints/$(hostname); rm checkpoints/ours; "
      "[ $(hostname) = algo-1 ] || rm checkpoints/shared");
  start();
  EXPECT_EQ(finish().text("outcome"), "completed");
  EXPECT_EQ(kept("checkpoint"), task.hosts);
  std::vector<std::string> gone;
  for (const auto& event : events()) {
    if (event.what == "gone") gone.push_back(event.text("name"));
    if (event.what == "kept" && event.text("of") == "checkpoint")
      EXPECT_EQ(base::read_file(folder.kept() / event.text("file")), event.text("name") + "\n");
  }
  EXPECT_EQ(gone, (std::vector<std::string>{"ours"})) << "the other is there still, on a host";
}

TEST_F(RunnerTest, MetricsWithBlanks) {
  task.metrics = {{"loss", "loss:(.*)"}, {"accuracy", "acc=(.*?)%"}};
  run("a1", "echo 'loss: 0.5'; printf 'acc= \\t 0.7 %%\\n'; echo 'loss: '");
  std::map<std::string, double> found;
  for (const auto& event : events())
    if (event.what == "metric") found[event.text("name")] = event.number_at("value");
  EXPECT_EQ(found, (std::map<std::string, double>{{"accuracy", 0.7}, {"loss", 0.5}}));
}

TEST_F(RunnerTest, NothingIsDoneWhileAProgramUsesItsGrace) {
  task.most = 1s;
  task.grace = 2s;
  script("trap '' TERM; echo ready; while :; do sleep 0.1; done");
  start();
  auto runner = static_cast<pid_t>(events()[0].integer("pid"));
  clockid_t clock;
  ASSERT_EQ(::clock_getcpuclockid(runner, &clock), 0);
  timespec used{};
  while (::clock_gettime(clock, &used) == 0) {
    ASSERT_LT(used.tv_sec * 1000 + used.tv_nsec / 1'000'000, 600);
    ::usleep(20'000);
  }
  EXPECT_EQ(finish().text("outcome"), "timeout");
}

TEST_F(RunnerTest, AProgramThatDiesIsNotSuspectedOfAPort) {
  base::Descriptor taken;
  try {
    taken = listen_at(8080);
  } catch (const base::Error&) {}  // then another has it
  task.training = false;
  task.pack = Task::Pack::nothing;
  task.environment["SAGEMAKER_BIND_TO_PORT"] = "29187";
  EXPECT_EQ(run("import", "echo ImportError; exit 1").text("text"), "ImportError");
  EXPECT_EQ(log().find("8080"), std::string::npos) << log();
  run("taken", "echo 'OSError: [Errno 98] Address already in use'; exit 1");
  EXPECT_NE(log().find("speaks of an address that is in use"), std::string::npos) << log();
}

TEST_F(RunnerTest, HostsWithoutANetworkReachEachOther) {
  task.hosts = {"algo-1", "algo-2"};
  task.own_network = true;
  script(
      "exec python3 -c \"import socket, time\n"
      "if socket.gethostname() == 'algo-1':\n"
      "  print(socket.create_server(('algo-1', 7777)).accept()[0].recv(9))\n"
      "else:\n"
      "  end = time.time() + 20\n"
      "  while True:\n"
      "    try: socket.create_connection(('algo-1', 7777)).send(b'hello'); break\n"
      "    except ConnectionRefusedError: assert time.time() < end; time.sleep(.02)\n\"");
  for (bool other : {false, true}) {
    other_user = other;
    folder.path = temporary.path() / (other ? "other" : "same");
    start();
    Event end = finish();
    EXPECT_EQ(end.text("outcome"), "completed") << end.text("text") << log();
    EXPECT_NE(log().find("b'hello'"), std::string::npos) << log();
  }
  base::Descriptor listener = listen_at(29188);
  script("exec python3 -c \"import socket; socket.create_connection(('127.0.0.1', 29188), 5)\"");
  folder.path = temporary.path() / "walled";
  start();
  EXPECT_EQ(finish().text("outcome"), "failed") << log();
}

}  // namespace
}  // namespace textmill::fleet
