#include "base/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <limits>
#include <thread>
#include <vector>

#include "base/files.h"

namespace textmill::base {
namespace {

/// What `action` logs.
std::string logged(LogOptions options, auto&& action) {
  TemporaryFolder folder;
  Path path = folder.path() / "log";
  options.fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  set_log(options);
  action();
  set_log({});
  ::close(options.fd);
  return read_file(path);
}

std::string after_time(const std::string& line) { return line.substr(line.find("\"level\"")); }

TEST(Log, json_line) {
  std::string line = logged({}, [] {
    std::string name = "a\"b\\c\n\x01\x7f";
    log(Level::info, "job_started",
        {{"job", name},
         {"pid", 42},
         {"big", ~uint64_t{0}},
         {"part", 0.5},
         {"ok", true},
         {"nan", std::nan("")},
         {"bad", "caf\xe9"},
         {"none", ""}});
  });
  EXPECT_TRUE(line.starts_with("{\"time\":\"20")) << line;
  EXPECT_EQ(
      after_time(line),
      "\"level\":\"info\",\"event\":\"job_started\",\"job\":\"a\\\"b\\\\c\\n\\u0001\\u007f\",\"pid\":42,"
      "\"big\":18446744073709551615,\"part\":0.5,\"ok\":true,\"nan\":null,\"bad\":\"caf\xEF\xBF\xBD\","
      "\"none\":\"\"}\n");
}

TEST(Log, nobody_who_reads_it_stops_a_server) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  set_log({.fd = ends[1], .waits = false});
  const std::string words(3000, 'x'), long_words(9000, 'y');
  for (int i = 0; i < 40; ++i) log(Level::info, "event", {{"words", i % 2 ? words : long_words}});
  std::string read(1 << 20, '\0');
  ssize_t n = ::read(ends[0], read.data(), read.size());
  ASSERT_GT(n, 30'000);
  read.resize(static_cast<size_t>(n));
  log(Level::info, "again", {});
  std::string rest(1 << 20, '\0');
  rest.resize(static_cast<size_t>(std::max<ssize_t>(0, ::read(ends[0], rest.data(), rest.size()))));
  set_log({});
  ::close(ends[0]);
  ::close(ends[1]);
  EXPECT_NE(rest.find("\"event\":\"log_lines_dropped\",\"lines\":"), std::string::npos) << rest;
  EXPECT_NE(rest.find("\"event\":\"again\""), std::string::npos);
  EXPECT_EQ(rest.starts_with('\n'), !read.ends_with("}\n")) << "a line that was cut is ended";
}

TEST(Log, text_line) {
  std::string line = logged({.format = LogFormat::text}, [] {
    LogRequest request("r-1");
    log(Level::warning, "disk_slow", {{"path", "/tmp/a b"}, {"plain", "x/y"}, {"ms", 12.5}, {"empty", ""}});
  });
  EXPECT_EQ(line.substr(13),
            "warning disk_slow path=\"/tmp/a b\" plain=x/y ms=12.5 empty=\"\" request_id=r-1\n");
}

TEST(Log, drops_what_is_below_the_level) {
  std::string lines = logged({.level = Level::warning}, [] {
    log(Level::debug, "a");
    log(Level::info, "b");
    log(Level::warning, "c");
    log(Level::error, "d");
  });
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 2);
  EXPECT_EQ(parse_level("warning"), Level::warning);
  EXPECT_EQ(parse_level("loud"), std::nullopt);
}

TEST(Log, request_ids_nest_and_belong_to_a_thread) {
  std::string lines = logged({}, [] {
    LogRequest outer("outer");
    {
      LogRequest inner("inner");
      log(Level::info, "a");
    }
    log(Level::info, "b");
    std::jthread([] { log(Level::info, "c"); }).join();
  });
  EXPECT_NE(lines.find("\"a\",\"request_id\":\"inner\"}"), std::string::npos);
  EXPECT_NE(lines.find("\"b\",\"request_id\":\"outer\"}"), std::string::npos);
  EXPECT_NE(lines.find("\"c\"}"), std::string::npos);
}

TEST(Log, lines_of_many_threads_stay_whole) {
  std::string lines = logged({}, [] {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([] {
        for (int i = 0; i < 500; ++i) log(Level::info, "event", {{"text", "some text that is not short"}});
      });
    }
  });
  size_t count = 0;
  for (size_t at = 0, end; at < lines.size(); at = end + 1, ++count) {
    end = lines.find('\n', at);
    std::string line = lines.substr(at, end - at);
    EXPECT_TRUE(line.starts_with("{\"time\":") && line.ends_with("not short\"}")) << line;
  }
  EXPECT_EQ(count, 2000u);
}

TEST(Log, a_closed_sink_is_no_failure) {
  set_log({.fd = -1});
  log(Level::error, "lost");
  set_log({});
}

}  // namespace
}  // namespace textmill::base
