// process, signals, threads.

#include "base/process.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <memory>

#include "base/error.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/threads.h"

namespace textmill::base {
namespace {

using namespace std::chrono_literals;

TEST(Process, run_captures_both_streams_and_the_status) {
  auto result = run_process({.arguments = {"sh", "-c", "cat; echo oops >&2; exit 3"}}, "some input");
  EXPECT_EQ(result.output, "some input");
  EXPECT_EQ(result.error, "oops\n");
  EXPECT_EQ(result.status, 3);
}

TEST(Process, large_streams_do_not_block_each_other) {
  std::string input(3 << 20, 'x');
  auto result = run_process({.arguments = {"sh", "-c", "tee /dev/stderr"}}, input);
  EXPECT_EQ(result.output, input);
  EXPECT_EQ(result.error, input);
  EXPECT_EQ(run_process({.arguments = {"true"}}, input).status, 0) << "input nobody reads";
}

TEST(Process, too_much_output_is_a_limit) {
  try {
    run_process({.arguments = {"sh", "-c", "while :; do echo y; done"}}, {}, 1000);
    FAIL();
  } catch (const Error& error) { EXPECT_EQ(error.kind(), Kind::limit); }
}

TEST(Process, environment_and_folder) {
  TemporaryFolder folder;
  ::setenv("PROCESS_TEST_OURS", "ours", 1);
  ProcessSpec spec{.arguments = {"sh", "-c", "echo $PROCESS_TEST_OURS $PROCESS_TEST_GIVEN; pwd"},
                   .environment = {{"PROCESS_TEST_GIVEN", "given"}},
                   .folder = folder.path()};
  std::string pwd = std::filesystem::canonical(folder.path()).string();
  EXPECT_EQ(run_process(spec).output, "ours given\n" + pwd + "\n");
  spec.environment["PROCESS_TEST_OURS"] = "over";
  EXPECT_EQ(run_process(spec).output, "over given\n" + pwd + "\n");
  spec.inherit_environment = false;
  spec.environment.erase("PROCESS_TEST_OURS");
  EXPECT_EQ(run_process(spec).output, "given\n" + pwd + "\n");
}

TEST(Process, a_program_that_cannot_start_is_named) {
  try {
    Process process({.arguments = {"/no/such/program"}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::not_found);
    EXPECT_NE(std::string(error.what()).find("/no/such/program"), std::string::npos);
  }
}

TEST(Process, waits_and_kills) {
  Process process({.arguments = {"sleep", "1000"}});
  EXPECT_EQ(process.wait_for(1ms), std::nullopt);
  process.kill(SIGTERM);
  EXPECT_EQ(process.wait(), 128 + SIGTERM);
  EXPECT_EQ(process.wait_for(0ms), 128 + SIGTERM);
}

TEST(Process, a_group_is_killed_with_what_it_started) {
  pid_t child = 0;
  {
    Process process(
        {.arguments = {"sh", "-c", "sleep 1000 & echo $!; wait"}, .output = kPipe, .group = true});
    char line[32] = {};
    ASSERT_GT(::read(process.output(), line, sizeof line - 1), 0);
    child = static_cast<pid_t>(std::stol(line));
    EXPECT_EQ(::kill(child, 0), 0);
  }
  auto is_there = [&] {  // whoever adopts it may leave it a zombie
    std::string file = "/proc/" + std::to_string(child) + "/stat";
    return std::filesystem::exists(file) && read_file(file).find(") Z ") == std::string::npos;
  };
  for (int i = 0; i < 500 && is_there(); ++i) ::usleep(10'000);
  EXPECT_FALSE(is_there());
}

TEST(Process, destructor_leaves_no_child) {
  pid_t pid;
  {
    Process process({.arguments = {"sleep", "1000"}});
    Process moved(std::move(process));
    pid = moved.pid();
    EXPECT_EQ(::kill(pid, 0), 0);
  }
  EXPECT_EQ(::kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
}

TEST(Signals, first_stops_second_exits) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto twice = [] {
    set_log({.level = Level::error});
    StopSignals signals;
    ::kill(::getpid(), SIGTERM);
    signals.wait();
    std::stop_callback stuck(signals.token(), [] {});
    ::kill(::getpid(), SIGINT);
    ::pause();
  };
  EXPECT_EXIT(twice(), testing::ExitedWithCode(128 + SIGINT), "");
}

TEST(Signals, second_exits_while_a_callback_is_stuck) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto stuck = [] {
    StopSignals signals;
    std::stop_callback callback(signals.token(), [] {
      ::kill(::getpid(), SIGTERM);
      ::pause();
    });
    ::kill(::getpid(), SIGTERM);
    ::pause();
  };
  EXPECT_EXIT(stuck(), testing::ExitedWithCode(128 + SIGTERM), "stop_requested");
}

TEST(Signals, descriptor_is_readable_after_the_stop_and_children_get_signals) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  auto body = [] {
    StopSignals signals;
    pollfd fd{signals.fd(), POLLIN, 0};
    if (::poll(&fd, 1, 0) != 0 || signals.token().stop_requested()) ::_exit(1);
    Process child({.arguments = {"sleep", "1000"}});
    child.kill(SIGTERM);
    if (child.wait() != 128 + SIGTERM) ::_exit(2);
    ::kill(::getpid(), SIGINT);
    if (::poll(&fd, 1, -1) != 1 || signals.signal() != SIGINT) ::_exit(3);
    while (!signals.token().stop_requested()) std::this_thread::yield();
    ::_exit(0);
  };
  EXPECT_EXIT(body(), testing::ExitedWithCode(0), "");
}

TEST(Threads, are_named) {
  start_thread("a-name-longer-than-15", [](std::stop_token) {
    EXPECT_EQ(read_file("/proc/thread-self/comm"), "a-name-longer-t\n");
  }).join();
}

TEST(Queue, keeps_order_and_bound_between_threads) {
  BoundedQueue<std::unique_ptr<int>> queue(3);
  auto producer = start_thread("producer", [&](std::stop_token) {
    for (int i = 0; i < 1000; ++i) EXPECT_TRUE(queue.push(std::make_unique<int>(i)));
    queue.close();
  });
  for (int i = 0; i < 1000; ++i) {
    EXPECT_LE(queue.size(), queue.capacity());
    EXPECT_EQ(**queue.pop(), i);
  }
  EXPECT_EQ(queue.pop(), std::nullopt);
}

TEST(Queue, full_and_closed_leave_the_item) {
  BoundedQueue<std::unique_ptr<int>> queue(1);
  auto item = std::make_unique<int>(7);
  EXPECT_TRUE(queue.try_push(std::make_unique<int>(1)));
  EXPECT_FALSE(queue.try_push(std::move(item)));
  queue.close();
  EXPECT_FALSE(queue.push(std::move(item)));
  ASSERT_NE(item, nullptr);
  EXPECT_EQ(**queue.try_pop(), 1);
  EXPECT_EQ(queue.try_pop(), std::nullopt);
  EXPECT_EQ(queue.pop(), std::nullopt);
}

TEST(Queue, stop_wakes_both_ends) {
  BoundedQueue<int> empty(1), full(1);
  full.push(1);
  std::atomic<int> woken = 0;
  auto reader = start_thread("reader", [&](std::stop_token stop) { woken += !empty.pop(stop); });
  auto writer = start_thread("writer", [&](std::stop_token stop) { woken += !full.push(2, stop); });
  reader.request_stop();
  writer.request_stop();
  reader.join();
  writer.join();
  EXPECT_EQ(woken, 2);
}

}  // namespace
}  // namespace textmill::base
