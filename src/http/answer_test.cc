#include <fcntl.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "base/files.h"
#include "base/hash.h"
#include "http/test_wire.h"

namespace textmill::http {
namespace {

using namespace std::chrono_literals;

std::string noise(size_t size) {
  std::string bytes(size, '\0');
  uint32_t state = 1;
  for (char& c : bytes) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return bytes;
}

/// Reads a chunked body to its end; empty when it breaks off.
std::string read_chunks(Wire& wire) {
  std::string body;
  for (;;) {
    auto header = wire.until("\r\n");
    if (header.empty()) return {};
    size_t size = std::stoul(header, nullptr, 16);
    body += wire.exactly(size);
    if (wire.until("\r\n") != "\r\n") return {};
    if (size == 0) return body;
  }
}

// A socket is writable again when a third of its buffer is free, and a full kernel asks for more when much of its own is:
// slow readers, and those that pause, take minutes for that.
TEST(Answer, WaitsForSlowReadersNotForThoseThatStopped) {
  base::TemporaryFolder folder;
  const std::string bytes = noise(24'000'000);
  base::write_file_durably(folder.path() / "f", bytes);
  auto file = std::make_shared<const OpenFile>(folder.path() / "f");
  ServerOptions options;
  options.stall_timeout = 300ms;
  options.taking_timeout = 4s;
  auto of_file = [&](Request&) { return Response{200, {}, FileRange{file, 0, bytes.size()}}; };
  auto of_memory = [&](Request&) { return text(bytes); };
  Running running({{"GET", "/file", of_file}, {"GET", "/memory", of_memory}}, options);
  std::vector<Wire> slow, stopped;
  for (const char* path : {"/file", "/memory"}) {
    for (auto* wires : {&slow, &stopped}) {
      Wire& wire = wires->emplace_back(running.wire());
      int size = 128 << 10;
      ::setsockopt(wire.fd(), SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
      wire.send(get(path));
      wire.until("\r\n\r\n");
    }
  }
  std::vector<std::string> bodies(slow.size());
  for (int i = 0; i < 100; ++i) {  // 1.5 s, in which some of the server's 4 MB is taken
    for (size_t w = 0; w < slow.size(); ++w) bodies[w] += slow[w].exactly(10'000);
    std::this_thread::sleep_for(15ms);
  }
  std::this_thread::sleep_for(800ms);
  for (size_t w = 0; w < slow.size(); ++w) {
    bodies[w] += slow[w].exactly(bytes.size() - bodies[w].size());
    EXPECT_EQ(bodies[w].size(), bytes.size());
    EXPECT_TRUE(bodies[w] == bytes);
  }
  while (running.server.connections() > slow.size()) std::this_thread::yield();
  for (Wire& wire : stopped) EXPECT_LT(wire.rest().size(), bytes.size());
}

TEST(Answer, SendsFileRanges) {
  base::TemporaryFolder folder;
  const std::string bytes = noise(3'000'001);
  base::write_file_durably(folder.path() / "f", bytes);
  auto file = std::make_shared<const OpenFile>(folder.path() / "f");
  Running running(
      {{"GET", "/*", [&](Request& request) {
          std::string path(request.path());
          size_t comma = path.find(',');
          return Response{
              206, {}, FileRange{file, std::stoul(path.substr(1)), std::stoul(path.substr(comma + 1))}};
        }}});
  auto wire = running.wire();
  for (auto [offset, length] :
       {std::pair<size_t, size_t>{0, 3'000'001}, {0, 0}, {7, 1}, {1, 65'536}, {1'000'000, 2'000'001}}) {
    auto answer = wire.ask(get("/" + std::to_string(offset) + "," + std::to_string(length)));
    EXPECT_EQ(answer.status, 206);
    EXPECT_TRUE(answer.body == bytes.substr(offset, length)) << offset << " " << length;
  }
  // A file that is shorter than was said cannot be answered whole: the connection ends instead.
  EXPECT_EQ(wire.ask(get("/2999999,100000")).body.size(), 2u);
  EXPECT_TRUE(wire.closed_by_server());
}

TEST(Answer, StreamsWhatAnotherThreadProduces) {
  struct Shared {
    std::mutex mutex;
    std::string ready;
    bool ended = false;
    Waker waker;
    void produce(std::string_view piece, bool end) {
      std::lock_guard lock(mutex);
      ready += piece;
      ended = end;
      if (waker) waker();
    }
  };
  auto shared = std::make_shared<Shared>();
  Running running({{"GET", "/", [&](Request&) {
                      Stream stream;
                      stream.pull = [shared](std::string& out, const Waker& waker) {
                        std::lock_guard lock(shared->mutex);
                        shared->waker = waker;
                        out += std::exchange(shared->ready, {});
                        return shared->ended ? Stream::Pull::end : Stream::Pull::wait;
                      };
                      return Response{200, {{"Content-Type", "text/event-stream"}}, stream};
                    }}});
  auto wire = running.wire();
  wire.send(get("/"));
  EXPECT_NE(wire.until("\r\n\r\n").find("Transfer-Encoding: chunked"), std::string::npos);
  std::string expected;
  for (int i = 0; i < 50; ++i) {
    std::string piece = "data: " + std::to_string(i) + "\n\n";
    shared->produce(piece, false);
    EXPECT_EQ(wire.until("\n\n\r\n").substr(3), piece + "\r\n");  // the client has it before the next is made
  }
  shared->produce("", true);
  EXPECT_EQ(read_chunks(wire), "");
  shared->waker();  // late, and harmless
  EXPECT_EQ(wire.ask("HEAD / HTTP/1.1\r\nHost: t\r\n\r\n").status, 200);
}

TEST(Answer, StreamsWithAKnownLengthOrToTheEnd) {
  auto stream = [](std::optional<uint64_t> length) {
    auto left = std::make_shared<int>(3);
    return Stream{[left](std::string& out, const Waker&) {
                    out += "abc";
                    return --*left > 0 ? Stream::Pull::more : Stream::Pull::end;
                  },
                  length};
  };
  Running running({{"GET", "/known",
                    [&](Request&) {
                      return Response{200, {}, stream(9)};
                    }},
                   {"GET", "/wrong",
                    [&](Request&) {
                      return Response{200, {}, stream(10)};
                    }},
                   {"GET", "/open", [&](Request&) {
                      return Response{200, {}, stream({})};
                    }}});
  auto wire = running.wire();
  EXPECT_EQ(wire.ask(get("/known")).body, "abcabcabc");
  wire.send(get("/open"));
  wire.until("\r\n\r\n");
  EXPECT_EQ(read_chunks(wire), "abcabcabc");
  auto old = running.wire();
  old.send("GET /open HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_NE(old.until("\r\n\r\n").find("Connection: close"), std::string::npos);
  EXPECT_EQ(old.rest(), "abcabcabc");
  EXPECT_EQ(wire.ask(get("/wrong")).body.size(), 9u);
  EXPECT_TRUE(wire.closed_by_server());
}

TEST(Answer, CutsAStreamThatFails) {
  Running running({{"GET", "/", [](Request&) {
                      return Response{200, {}, Stream{[sent = false](std::string& out, const Waker&) mutable {
                                        if (std::exchange(sent, true))
                                          throw base::Error(base::Kind::internal, "broken");
                                        out = "half";
                                        return Stream::Pull::more;
                                      }}};
                    }}});
  auto wire = running.wire();
  wire.send(get("/"));
  wire.until("\r\n\r\n");
  EXPECT_EQ(wire.rest(), "4\r\nhalf\r\n");
}

TEST(Answer, EndsAStreamWhoseClientLeft) {
  for (bool waits : {true, false}) {
    auto gone = std::make_shared<Gate>();
    struct Tell {
      std::shared_ptr<Gate> gate;
      ~Tell() { gate->open(); }
    };
    Running running({{"GET", "/", [&](Request&) {
                        auto tell = std::make_shared<Tell>(Tell{gone});
                        return Response{200, {}, Stream{[tell, waits](std::string& out, const Waker&) {
                                          out.assign(1000, 'x');
                                          return waits ? Stream::Pull::wait : Stream::Pull::more;
                                        }}};
                      }}});
    auto wire = running.wire();
    wire.send(get("/"));
    wire.until("x");
    wire.close();
    EXPECT_TRUE(gone->wait());
  }
}

TEST(Answer, WaitsForALaterOne) {
  std::vector<std::jthread> threads;
  Running running({{"GET", "/*",
                    [&](Request& request) {
                      struct State {
                        Gate polled;
                        std::mutex mutex;
                        std::optional<std::string> result;
                        Waker waker;
                      };
                      auto state = std::make_shared<State>();
                      threads.emplace_back([state, target = request.target] {
                        EXPECT_TRUE(state->polled.wait());  // so that the session does wait, each time
                        std::lock_guard lock(state->mutex);
                        state->result = "answer to " + target;
                        state->waker();
                      });
                      return Response{0, {}, Later{[state](Response& answer, const Waker& waker) {
                                        std::lock_guard lock(state->mutex);
                                        state->waker = waker;
                                        state->polled.open();
                                        if (state->result) answer = text(*state->result);
                                        return state->result.has_value();
                                      }}};
                    }}},
                  {.workers = 1});
  auto wire = running.wire();
  for (int i = 0; i < 100; ++i) {
    auto path = "/" + std::to_string(i);
    ASSERT_EQ(wire.ask(get(path)).body, "answer to " + path);
  }
}

TEST(Answer, TurnsAFailedLaterIntoAStatus) {
  Running running({{"GET", "/", [](Request&) {
                      return Response{0, {}, Later{[](Response&, const Waker&) -> bool {
                                        throw base::Error(base::Kind::unavailable, "loading");
                                      }}};
                    }}});
  EXPECT_EQ(running.wire().ask(get("/")).status, 503);
}

TEST(Answer, LaterLearnsThatTheClientLeft) {
  Gate polled, told;
  auto keep = std::make_shared<std::optional<std::stop_callback<std::function<void()>>>>();
  auto handler = [&](Request& request) {
    keep->emplace(request.stop, [&] { told.open(); });
    return Response{0, {}, Later{[&, stop = request.stop](Response& answer, const Waker&) {
                      polled.open();
                      answer.status = 500;
                      return stop.stop_requested();
                    }}};
  };
  Running running({{"GET", "/", handler}});
  auto wire = running.wire();
  wire.send(get("/"));
  ASSERT_TRUE(polled.wait());
  wire.close();
  EXPECT_TRUE(told.wait());
  EXPECT_TRUE(running.server.drain(10s));
}

TEST(Body, StaysInMemoryOrGoesToAFile) {
  base::TemporaryFolder folder;
  ServerOptions options;
  options.spool = {.memory = 100'000, .folder = folder.path()};
  Running running(
      {{"POST",
        "/",
        [&](Request& request) {
          auto hash =
              base::hex({reinterpret_cast<const uint8_t*>(request.body.digest(Digest::sha256).data()), 32});
          bool same = hash == base::sha256_hex(request.body.text());
          return text(std::to_string(request.body.size()) + (request.body.file() ? " file" : " memory") +
                      (same ? " same" : " different") +
                      std::to_string(request.body.digest(Digest::md5).size()));
        },
        {.digests = {Digest::sha256, Digest::md5}}}},
      options);
  auto wire = running.wire();
  EXPECT_EQ(wire.ask(post("/", "")).body, "0 memory same16");
  EXPECT_EQ(wire.ask(post("/", noise(100'000))).body, "100000 memory same16");
  EXPECT_EQ(wire.ask(post("/", noise(100'001))).body, "100001 file same16");
  EXPECT_EQ(wire.ask(post("/", noise(9'999'999))).body, "9999999 file same16");
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Body, IsKeptUnderAName) {
  base::TemporaryFolder folder;
  ServerOptions options;
  options.spool = {.memory = 1000, .folder = folder.path()};
  Running running({{"PUT", "/*",
                    [&](Request& request) {
                      request.body.keep_as(folder.path() / request.path().substr(1));
                      return text("");
                    }}},
                  options);
  auto put = [](std::string name, std::string_view body) {
    return "PUT /" + name + " HTTP/1.1\r\nHost: t\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\n\r\n" + std::string(body);
  };
  for (size_t size : {10, 500'000}) {
    auto name = std::to_string(size);
    EXPECT_EQ(running.wire().ask(put(name, noise(size))).status, 200);
    EXPECT_TRUE(base::read_file(folder.path() / name) == noise(size));
    EXPECT_EQ(running.wire().ask(put(name, noise(size))).status, 409);
  }
}

TEST(Body, GoesToFilesWhenMemoryIsCrowded) {
  ServerOptions options;
  options.spool = {.memory = 1 << 20, .memory_total = 1000};
  Running running(
      {{"POST", "/", [&](Request& request) { return text(request.body.file() ? "file" : "memory"); }}},
      options);
  EXPECT_EQ(running.wire().ask(post("/", noise(900'000))).body, "file");
}

/// Kilobytes of memory that are this process's own.
size_t resident() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word)
    if (word == "RssAnon:") break;
  size_t kilobytes = 0;
  status >> kilobytes;
  return kilobytes;
}

TEST(Body, LargeOnesTakeConstantMemory) {
  base::TemporaryFolder folder;
  ServerOptions options;
  options.max_body = 1ull << 40;
  options.spool.folder = folder.path();
  Running running({{"POST", "/",
                    [](Request& request) {
                      return Response{200, {}, FileRange{request.body.file(), 0, request.body.size()}};
                    }}},
                  options);
  auto wire = running.wire();
  const std::string block = noise(1 << 20);
  wire.ask(post("/", block + block));
  const size_t before = resident();
  constexpr int kBlocks = 200;
  wire.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: " + std::to_string(kBlocks * block.size()) +
            "\r\n\r\n");
  for (int i = 0; i < kBlocks; ++i) ASSERT_TRUE(wire.send(block));
  ASSERT_NE(wire.until("\r\n\r\n"), "");
  for (int i = 0; i < kBlocks; ++i) ASSERT_TRUE(wire.exactly(block.size()) == block);
  EXPECT_LT(resident(), before + 24 * 1024);
}

TEST(Body, AFullDiskIsAnAnswer) {
  ServerOptions options;
  options.spool = {.memory = 1000, .folder = "/nowhere/at/all"};
  Running running({{"POST", "/", [&](Request&) { return text("never"); }}}, options);
  auto wire = running.wire();
  auto answer = wire.ask(post("/", noise(2'000'000)));
  EXPECT_EQ(answer.status, 404);
  EXPECT_NE(answer.body.find("/nowhere/at/all"), std::string::npos);
}

}  // namespace
}  // namespace textmill::http
