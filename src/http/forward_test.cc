#include <atomic>
#include <thread>

#include "http/test_wire.h"

namespace textmill::http {
namespace {

using namespace std::chrono_literals;

/// Another server that takes connections one by one and does with each what the test says.
class Scripted {
 public:
  explicit Scripted(std::function<void(Wire&)> script)
      : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(listener_, 16), 0);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::jthread([this, script = std::move(script)] {
      for (int fd; (fd = ::accept(listener_, nullptr, nullptr)) >= 0;) {
        ++connections;
        auto wire = Wire::adopt(fd);
        script(wire);
      }
    });
  }
  ~Scripted() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  uint16_t port() const { return port_; }
  std::atomic<int> connections = 0;

 private:
  int listener_;
  uint16_t port_;
  std::jthread thread_;
};

Route forward_to(uint16_t port, Forward forward = {}) {
  forward.host = "127.0.0.1";
  forward.port = port;
  return {"POST", "/*", [forward](Request&) { return Response{0, {}, forward}; }};
}

TEST(Forward, CarriesRequestAndAnswer) {
  Running behind({{"POST", "/*", [](Request& request) {
                     EXPECT_FALSE(request.headers.find("Connection"));
                     return Response{201,
                                     {{"X-Behind", "yes"}},
                                     request.target + " " + request.id + " " +
                                         std::string(request.headers.get("X-Mine")) + " " +
                                         std::string(request.body.text())};
                   }}});
  Running front({forward_to(behind.server.port())});
  auto wire = front.wire();
  for (int i = 0; i < 20; ++i) {
    auto answer =
        wire.ask(post("/a?b=c", "body", "X-Mine: m\r\nx-request-id: r1\r\nConnection: keep-alive\r\n"));
    EXPECT_EQ(answer.status, 201);
    EXPECT_TRUE(answer.has("X-Behind: yes\r\n"));
    EXPECT_EQ(answer.body, "/a?b=c r1 m body");
    EXPECT_EQ(answer.head.find("x-request-id"), answer.head.rfind("x-request-id"));
  }
  EXPECT_EQ(behind.server.connections(), 1u) << "the connection behind is used again";
}

TEST(Forward, CarriesLargeBodiesBothWays) {
  Running behind({{"POST", "/*", [](Request& request) { return text(std::string(request.body.text())); }}});
  Running front({forward_to(behind.server.port())});
  std::string body(5'000'000, 'x');
  for (size_t i = 0; i < body.size(); i += 97) body[i] = static_cast<char>(i);
  EXPECT_TRUE(front.wire().ask(post("/", body)).body == body);
}

TEST(Forward, StreamsPieceByPiece) {
  Gate second;
  Scripted behind([&](Wire& wire) {
    wire.until("\r\n\r\n");
    wire.send(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
    EXPECT_TRUE(second.wait());
    wire.send("3\r\ntwo\r\n0\r\n\r\n");
  });
  Running front({forward_to(behind.port())});
  auto wire = front.wire();
  wire.send(post("/", ""));
  EXPECT_NE(wire.until("one\r\n").find("\r\n\r\n3\r\none\r\n"), std::string::npos);
  second.open();
  EXPECT_EQ(wire.until("0\r\n\r\n"), "3\r\ntwo\r\n0\r\n\r\n");
}

TEST(Forward, CarriesABodyThatEndsWithTheConnection) {
  Scripted behind([](Wire& wire) {
    wire.until("\r\n\r\n");
    wire.send("HTTP/1.0 200 OK\r\n\r\nto the end");
  });
  Running front({forward_to(behind.port())});
  auto wire = front.wire();
  wire.send(post("/", ""));
  EXPECT_NE(wire.until("\r\n0\r\n\r\n").find("to the end"), std::string::npos);
}

TEST(Forward, LetsTheHeadBeEdited) {
  Running behind({{"POST", "/*", [](Request&) -> Response { return {500, {{"A", "1"}}, "failed"}; }}});
  auto edit = [](int& status, Headers& headers) -> std::optional<BodyFilter> {
    status = 424;
    headers.set("A", "2");
    return std::nullopt;
  };
  Running front({forward_to(behind.server.port(), {.edit = edit})});
  auto answer = front.wire().ask(post("/", ""));
  EXPECT_EQ(answer.status, 424);
  EXPECT_TRUE(answer.has("A: 2\r\n"));
  EXPECT_EQ(answer.body, "failed");
}

/// Each piece in brackets; the end says whether it was one.
std::optional<BodyFilter> in_brackets(int&, Headers&) {
  return BodyFilter{.piece = [](std::string_view piece) { return "<" + std::string(piece) + ">"; },
                    .end = [](bool whole) { return std::string(whole ? "whole" : "broken"); }};
}

TEST(Forward, LetsTheBodyBeChanged) {
  Running behind({{"POST", "/*", [](Request& request) { return text(std::string(request.body.text())); }}});
  Running front({forward_to(behind.server.port(), {.edit = in_brackets})});
  auto wire = front.wire();
  wire.send(post("/", "abc"));
  EXPECT_TRUE(wire.until("\r\n0\r\n\r\n").ends_with("\r\n\r\na\r\n<abc>whole\r\n0\r\n\r\n"));
  wire.send(post("/", ""));
  EXPECT_TRUE(wire.until("\r\n0\r\n\r\n").ends_with("\r\n\r\n5\r\nwhole\r\n0\r\n\r\n"));
  EXPECT_EQ(behind.server.connections(), 1u);
}

TEST(Forward, EndsAChangedBodyThatBrokeOff) {
  Scripted behind([](Wire& wire) {
    wire.until("\r\n\r\n");
    wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
  });
  Running front({forward_to(behind.port(), {.edit = in_brackets})});
  auto wire = front.wire();
  for (int i = 0; i < 2; ++i) {
    wire.send(post("/", ""));
    EXPECT_TRUE(wire.until("\r\n0\r\n\r\n").ends_with("<half>\r\n6\r\nbroken\r\n0\r\n\r\n"));
  }
  EXPECT_EQ(behind.connections, 2) << "a connection that broke off is not used again";
}

TEST(Forward, SaysWhenNobodyIsThere) {
  uint16_t port;
  {
    Running gone({});
    port = gone.server.port();
  }
  Running front({forward_to(port)});
  auto answer = front.wire().ask(post("/", "x"));
  EXPECT_EQ(answer.status, 502);
  EXPECT_NE(answer.body.find(std::to_string(port)), std::string::npos);
}

TEST(Forward, GoesElsewhereWhenToldSo) {
  uint16_t port;
  {
    Running gone({});
    port = gone.server.port();
  }
  Running behind(
      {{"POST", "/*", [](Request& request) { return text("second " + std::string(request.body.text())); }}});
  Forward second{.host = "localhost", .port = behind.server.port()};
  Running front({forward_to(port, {.otherwise = [second](const base::Error& error) {
                              EXPECT_EQ(error.kind(), base::Kind::not_found);
                              return Response{0, {}, second};
                            }})});
  EXPECT_EQ(front.wire().ask(post("/", "x")).body, "second x");
}

TEST(Forward, GivesUpOnASilentServer) {
  Gate end;
  Scripted behind([&](Wire&) { end.wait(); });
  Running front({forward_to(behind.port(), {.timeout = 50ms})}, {.header_timeout = 40ms});
  auto wire = front.wire();
  EXPECT_EQ(wire.ask(post("/", "x")).status, 504);
  end.open();
}

TEST(Forward, GivesUpOnAnAnswerThatDripsWhereTheWholeHasALimit) {
  std::atomic<size_t> dripped = 0;
  Scripted behind([&](Wire& wire) {
    wire.until("\r\n\r\n");
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    while (wire.send("x")) {
      ++dripped;
      std::this_thread::sleep_for(1ms);  // the drip
    }
  });
  Running front({forward_to(behind.port(), {.timeout = 200ms, .whole_within = true})},
                {.header_timeout = 40ms});
  EXPECT_LT(front.wire().ask(post("/", "x")).body.size(), 1'000'000u);
  EXPECT_GT(dripped, 0u);
}

TEST(Forward, RepeatsWhatAStaleConnectionLost) {
  Scripted behind([](Wire& wire) {
    // Takes one request, then closes just when the next one arrives.
    wire.until("\r\n\r\n");
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    wire.until("\r\n\r\n");
    wire.reset_on_close();
  });
  Forward forward{.host = "127.0.0.1", .port = behind.port()};
  Running front({{"GET", "/", [&](Request&) { return Response{0, {}, forward}; }}});
  auto wire = front.wire();
  EXPECT_EQ(wire.ask(get("/")).body, "ok");
  EXPECT_EQ(wire.ask(get("/")).body, "ok");
  EXPECT_EQ(behind.connections, 2);
}

TEST(Forward, BreaksOffWhereTheServerDid) {
  Scripted behind([](Wire& wire) {
    wire.until("\r\n\r\n");
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
  });
  Running front({forward_to(behind.port())});
  auto wire = front.wire();
  auto answer = wire.ask(post("/", ""));
  EXPECT_EQ(answer.body, "half");
  EXPECT_TRUE(wire.closed_by_server());
}

TEST(Forward, HangsUpBehindWhenTheClientLeaves) {
  Gate entered, told;
  Running behind({{"POST", "/*", [&](Request& request) {
                     std::stop_callback callback(request.stop, [&] { told.open(); });
                     entered.open();
                     EXPECT_TRUE(told.wait());
                     return text("");
                   }}});
  auto lease = std::make_shared<int>(0);
  std::weak_ptr<int> held = lease;
  Running front(
      {{"POST", "/", [&, port = behind.server.port()](Request&) {
          return Response{0, {}, Forward{.host = "127.0.0.1", .port = port, .lease = std::move(lease)}};
        }}});
  auto wire = front.wire();
  wire.send(post("/", ""));
  ASSERT_TRUE(entered.wait());
  EXPECT_FALSE(held.expired());
  wire.close();
  EXPECT_TRUE(told.wait());
  EXPECT_TRUE(front.server.drain(10s));
  EXPECT_TRUE(held.expired());
}

}  // namespace
}  // namespace textmill::http
