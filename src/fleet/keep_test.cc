#include "fleet/runner_fixture.h"

namespace textmill::fleet {
namespace {

// What a runner takes out of an attempt, from programs that leave all sorts of things.

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
    if (event.what == "kept" && event.text("of") == "checkpoint") {
      EXPECT_EQ(base::read_file(folder.kept() / event.text("file")), event.text("name") + "\n");
    }
  }
  EXPECT_EQ(gone, (std::vector<std::string>{"ours"})) << "the other is there still, on a host";
}

}  // namespace
}  // namespace textmill::fleet
