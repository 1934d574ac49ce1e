#include "fleet/relay.h"
#include "fleet/runner_fixture.h"
#include "fleet/user.h"

namespace textmill::fleet {
namespace {

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

TEST_F(RunnerTest, AContainerHasARootOfItsOwn) {
  const Path busybox = "/bin/busybox";
  if (!std::filesystem::exists(busybox)) GTEST_SKIP() << "busybox-static is not installed";
  Path image = temporary.path() / "cache" / "image";
  for (const char* path : {"bin", "opt/ml/code", "opt/conda"})
    std::filesystem::create_directories(image / path);
  std::filesystem::copy_file(busybox, image / "bin/busybox");
  std::filesystem::create_symlink("busybox", image / "bin/sh");
  std::filesystem::create_symlink("/bin/busybox", image / "etc");  // where folders are expected
  write(image / "opt/ml/code/a.py", "a");
  give(image, program_user());
  write(folder.input("algo-1", "train") / "a.txt", "original");
  task.input.channels["train"] = {};
  task.container = "/where/it/starts";
  task.environment = {{"PATH", "/bin"}};
  write(temporary.path() / "certificate.pem", "the certificate\n");
  task.visible = {temporary.path() / "certificate.pem"};
  task.checkpoints = "/opt/ml/saved/here";
  task.command = {"sh", "-c",
                  "b=/bin/busybox; cd /opt/ml && $b ls / code /opt > model/seen && $b pwd && $b cat "
                  "input/data/train/a.txt && "
                  "echo x > saved/here/x && echo x > input/data/train/a.txt && echo x > /x && echo $HOME "
                  "$OLDPWD $TMPDIR && $b cat " +
                      task.visible[0].string() + " && ! echo x > " + task.visible[0].string()};
  std::filesystem::create_directories(folder.path);
  std::filesystem::create_directory_symlink(image, folder.image());
  start();
  Event end = finish();
  EXPECT_EQ(end.text("outcome"), "completed") << end.text("text") << log();
  EXPECT_EQ(base::read_file(model() / "seen"),
            "/:\nbin\ndev\netc\nopt\nproc\nsys\ntmp\nwhere\n\n/opt:\nconda\nml\n\ncode:\na.py\n");
  EXPECT_NE(log().find("/opt/ml\noriginal/root /where/it/starts\nthe certificate\n"), std::string::npos)
      << log();
  EXPECT_EQ(kept("checkpoint"), std::vector<std::string>{"x"});
  EXPECT_FALSE(std::filesystem::exists(image / "x"));
  EXPECT_TRUE(std::filesystem::is_symlink(image / "etc"));
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
  EXPECT_NE(log().find("127.1.0.2"), std::string::npos);
  folder.path = temporary.path() / "a2";
  script("[ $(hostname) = algo-2 ] && { echo bad; exit 5; }; sleep 1000");
  start();
  Event end = finish();
  EXPECT_EQ(end.text("outcome"), "failed");
  EXPECT_EQ(end.integer("status"), 5);
  EXPECT_EQ(end.text("text"), "bad");
}

TEST_F(RunnerTest, MetricsWithBlanks) {
  task.metrics = {{"loss", "loss:(.*)"}, {"accuracy", "acc=(.*?)%"}};
  run("a1", "echo 'loss: 0.5'; printf 'acc= \\t 0.7 %%\\n'; echo 'loss: '");
  std::map<std::string, double> found;
  for (const auto& event : events())
    if (event.what == "metric") found[event.text("name")] = event.number_at("value");
  EXPECT_EQ(found, (std::map<std::string, double>{{"accuracy", 0.7}, {"loss", 0.5}}));
}

TEST_F(RunnerTest, TheLastOfManyMetricsIsFinal) {
  task.metrics = {{"m", "m=([0-9]+)"}};
  run("a1", "seq -f m=%.0f 0 100500");
  double last = 0;
  for (const auto& event : events())
    if (event.what == "metric") last = event.number_at("value");
  EXPECT_EQ(last, 100'500);
  EXPECT_NE(log().find("Of 100501 values of metrics, the first 100000 and the last were kept."),
            std::string::npos);
}

TEST_F(RunnerTest, NothingIsDoneWhileAProgramUsesItsGrace) {
  task.most = 1s;
  task.grace = 2s;
  script("trap '' TERM; echo ready; while :; do sleep 0.1; done");
  start();
  await([&] { return log().find("ready") != std::string::npos; });
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

TEST_F(RunnerTest, TwoMayListenOnOnePort) {
  const std::string listen =
      "exec python3 -uc \"import socket; s = socket.create_server(('algo-1', 29189)); print('listens', "
      "s.getsockname()[0]); ";
  AttemptFolder first{temporary.path() / "first"};
  folder = first;
  script(listen + "s.accept()\"");
  task.number = 258;
  start();
  await([&] { return log().find("listens 127.2.2.1") != std::string::npos; });
  folder.path = temporary.path() / "second";
  script(listen + "socket.create_connection(('127.2.2.1', 29189))\"");
  task.number = 259;
  start();
  EXPECT_EQ(finish().text("outcome"), "completed") << log();
  folder = first;
  EXPECT_EQ(finish().text("outcome"), "completed") << log();
}

TEST_F(RunnerTest, AFileThatIsHiddenIsEmpty) {
  base::Path secret =
      std::filesystem::current_path() / "hidden-from-a-job.pem";  // not in /tmp, which is another one
  base::write_file_durably(secret, "secret");
  std::filesystem::permissions(secret, std::filesystem::perms(0644));
  task.hidden.push_back(std::filesystem::canonical(secret));
  run("hidden", "echo \"has $(wc -c < " + secret.string() + ")\"");
  EXPECT_NE(log().find("has 0"), std::string::npos) << log();
  std::filesystem::remove(secret);
}

}  // namespace
}  // namespace textmill::fleet
