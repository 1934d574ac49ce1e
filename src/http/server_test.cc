#include "http/server.h"

#include <atomic>
#include <future>
#include <thread>

#include "http/router.h"
#include "http/test_wire.h"

namespace textmill::http {
namespace {

using namespace std::chrono_literals;

Response echo(Request& request) {
  return text(request.method + " " + request.target + " " + std::string(request.body.text()));
}

TEST(Server, AnswersOnOneConnectionAgainAndAgain) {
  Running running({{"POST", "/echo", echo}});
  auto wire = running.wire();
  for (int i = 0; i < 100; ++i) {
    auto answer = wire.ask(post("/echo?n=" + std::to_string(i), "body " + std::to_string(i)));
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, "POST /echo?n=" + std::to_string(i) + " body " + std::to_string(i));
  }
  EXPECT_EQ(running.server.connections(), 1u);
}

TEST(Server, AnswersPipelinedRequestsInOrder) {
  Running running({{"POST", "/echo", echo}});
  auto wire = running.wire();
  std::string all;
  for (int i = 0; i < 200; ++i) all += post("/echo", std::to_string(i));
  ASSERT_TRUE(wire.send(all));
  for (int i = 0; i < 200; ++i) EXPECT_EQ(wire.answer().body, "POST /echo " + std::to_string(i));
}

TEST(Server, TakesARequestByteByByte) {
  Running running({{"POST", "/echo", echo}});
  auto wire = running.wire();
  for (char c : post("/echo", "slow")) ASSERT_TRUE(wire.send({&c, 1}));
  EXPECT_EQ(wire.answer().body, "POST /echo slow");
}

TEST(Server, TakesChunkedBodies) {
  Running running({{"POST", "/echo", echo}});
  auto wire = running.wire();
  auto answer = wire.ask(
      "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
      "5\r\nhello\r\n1;ext=1\r\n \r\n5\r\nworld\r\n0\r\nTrailer: x\r\n\r\n");
  EXPECT_EQ(answer.body, "POST /echo hello world");
  EXPECT_EQ(wire.ask(post("/echo", "next")).body, "POST /echo next");
}

TEST(Server, KnowsHttp10AndConnectionClose) {
  Running running({{"GET", "/", echo}});
  auto old = running.wire();
  auto answer = old.ask("GET / HTTP/1.0\r\n\r\n");
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.has("Connection: close"));
  EXPECT_TRUE(old.closed_by_server());
  auto kept = running.wire();
  EXPECT_TRUE(kept.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").has("Connection: keep-alive"));
  EXPECT_EQ(kept.ask(get("/")).status, 200);
  auto closing = running.wire();
  EXPECT_TRUE(closing.ask(get("/", "Connection: close\r\n")).has("Connection: close"));
  EXPECT_TRUE(closing.closed_by_server());
}

TEST(Server, AnswersHeadWithoutABody) {
  Running running({{"GET", "/", echo}});
  auto wire = running.wire();
  wire.send("HEAD / HTTP/1.1\r\nHost: t\r\n\r\n");
  auto answer = wire.answer(false);
  EXPECT_TRUE(answer.has("Content-Length: 7\r\n"));
  EXPECT_EQ(wire.ask(get("/")).body, "GET / ");
}

TEST(Server, RoutesByPathAndMethod) {
  Running running({{"GET", "/a", echo}, {"POST", "/a", echo}, {"GET", "/tree/*", echo}});
  auto wire = running.wire();
  EXPECT_EQ(wire.ask(get("/nothing")).status, 404);
  auto refused = wire.ask("DELETE /a HTTP/1.1\r\nHost: t\r\n\r\n");
  EXPECT_EQ(refused.status, 405);
  EXPECT_TRUE(refused.has("Allow: GET, HEAD, POST\r\n"));
  EXPECT_EQ(wire.ask(get("/tree/a/b")).body, "GET /tree/a/b ");
  EXPECT_EQ(wire.ask(get("/tree")).status, 404);
}

TEST(Server, GivesEachRequestAnId) {
  Running running({{"GET", "/id", [](Request& request) { return text(request.id); }}});
  auto wire = running.wire();
  auto own = wire.ask(get("/id", "X-Request-Id: abc-1\r\n"));
  EXPECT_EQ(own.body, "abc-1");
  EXPECT_TRUE(own.has("x-request-id: abc-1\r\n"));
  EXPECT_EQ(wire.ask(get("/id", "x-amzn-RequestId: amz\r\n")).body, "amz");
  auto first = wire.ask(get("/id")).body, second = wire.ask(get("/id")).body;
  EXPECT_EQ(first.size(), 32u);
  EXPECT_NE(first, second);
  EXPECT_EQ(wire.ask(get("/id", "X-Request-Id: not fit\r\n")).body.size(), 32u);
}

TEST(Server, TurnsErrorsIntoStatuses) {
  Running running(
      {{"GET", "/limit", [](Request&) -> Response { throw base::Error(base::Kind::limit, "a \"queue\""); }},
       {"GET", "/bug", [](Request&) -> Response { throw std::logic_error("secret"); }},
       {"GET", "/split", [](Request&) -> Response {
          return {200, {{"X", "a\r\nSet-Cookie: b"}}, ""};
        }}});
  auto wire = running.wire();
  auto full = wire.ask(get("/limit"));
  EXPECT_EQ(full.status, 429);
  EXPECT_EQ(full.body, R"({"error":"a \"queue\"","error_type":"Overloaded"})");
  auto bug = wire.ask(get("/bug"));
  EXPECT_EQ(bug.status, 500);
  EXPECT_EQ(bug.body.find("secret"), std::string::npos);
  auto next = running.wire();
  auto split = next.ask(get("/split"));
  EXPECT_EQ(split.status, 500);
  EXPECT_FALSE(split.has("Set-Cookie"));
}

TEST(Server, RefusesBrokenRequestsAndGoesOn) {
  Running running({{"POST", "/echo", echo}, {"GET", "/", echo}});
  const std::pair<const char*, int> kBroken[] = {
      {"nonsense\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
      {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
      {"GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET / HTTP/1.1\nHost: a\n\n\r\n\r\n", 505},
      {"GET / HTTP/1.1\r\nHost: a\r\nNo colon\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nBad name : x\r\n\r\n", 400},
      {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400},
      {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400},
      {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400},
      {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
       400},
      {"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
       400},
      {"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
      {"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
      {"POST /echo HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400},
      {"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcde\r\n", 400},
      {"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 400},
  };
  for (const auto& [request, status] : kBroken) {
    auto wire = running.wire();
    auto answer = wire.ask(request);
    EXPECT_EQ(answer.status, status) << request << answer.body;
    EXPECT_TRUE(answer.has("Connection: close")) << request;
    EXPECT_TRUE(wire.closed_by_server()) << request;
  }
  EXPECT_EQ(running.wire().ask(get("/")).status, 200);
}

TEST(Server, TakesAbsoluteTargetsAndBlankLinesBefore) {
  Running running({{"GET", "/a", echo}});
  auto wire = running.wire();
  EXPECT_EQ(wire.ask("\r\n\r\nGET http://host:80/a?b HTTP/1.1\r\nHost: t\r\n\r\n").body, "GET /a?b ");
}

TEST(Server, RefusesAnEndlessHead) {
  ServerOptions options;
  options.max_header = 4096;
  Running running({{"GET", "/", echo}}, options);
  auto one_line = running.wire();
  one_line.send("GET / HTTP/1.1\r\nHost: t\r\nX: " + std::string(10'000, 'x'));
  EXPECT_EQ(one_line.answer().status, 431);
  auto target = running.wire();
  target.send("GET /" + std::string(10'000, 'x'));
  EXPECT_EQ(target.answer().status, 431);
  // Field by field, each complete when it is read: no single read is beyond the limit.
  auto drip = running.wire();
  drip.send("GET / HTTP/1.1\r\nHost: t\r\nA");
  for (int i = 0; i < 1000 && drip.send(": b\r\nA"); ++i) std::this_thread::yield();
  EXPECT_EQ(drip.answer().status, 431);
}

TEST(Server, RefusesALargeBodyBeforeItComes) {
  ServerOptions options;
  options.max_body = 1000;
  Running running({{"POST", "/echo", echo}, {"POST", "/small", echo, {.limit = 10}}}, options);
  auto asking = running.wire();
  auto refused =
      asking.ask("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(refused.status, 413);
  EXPECT_NE(refused.body.find("1000"), std::string::npos);
  EXPECT_EQ(running.wire().ask(post("/small", "12345678901")).status, 413);
  EXPECT_EQ(running.wire().ask(post("/small", "1234567890")).status, 200);
  auto chunked = running.wire();
  chunked.send("POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 11; ++i) chunked.send("64\r\n" + std::string(100, 'x') + "\r\n");
  EXPECT_EQ(chunked.answer().status, 413);
  for (const char* size : {"3e9", "ffffffffffffffff"}) {  // as soon as it is said
    auto announcing = running.wire();
    announcing.send("POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n" +
                    std::string(size) + "\r\nx");
    EXPECT_EQ(announcing.answer().status, 413);
  }
  // A client that does not ask sees the answer although it is still sending.
  auto pushing = running.wire();
  pushing.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 8000000\r\n\r\n");
  pushing.send(std::string(8'000'000, 'x'));
  EXPECT_EQ(pushing.answer().status, 413);
}

TEST(Server, SaysContinueWhenTheBodyIsWelcome) {
  Running running({{"POST", "/echo", echo}});
  auto wire = running.wire();
  wire.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(wire.until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_EQ(wire.ask("ok").body, "POST /echo ok");
  // Nothing is to come, but the word is still awaited.
  wire.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(wire.until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_EQ(wire.answer().body, "POST /echo ");
  // Here the body is there already, and nobody waits for the word.
  auto answer = wire.ask(post("/echo", "now", "Expect: 100-continue\r\n"));
  EXPECT_EQ(answer.body, "POST /echo now");
}

TEST(Server, GivesUpOnSlowHeadsAndBodies) {
  ServerOptions options;
  options.header_timeout = options.stall_timeout = 60ms;
  Running running({{"POST", "/echo", echo}}, options);
  auto head = running.wire();
  head.send("POST /echo HTT");
  EXPECT_EQ(head.answer().status, 408);
  EXPECT_TRUE(head.closed_by_server());
  auto body = running.wire();
  body.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nab");
  EXPECT_EQ(body.answer().status, 408);
}

TEST(Server, ClosesIdleConnectionsSilently) {
  ServerOptions options;
  options.idle_timeout = 60ms;
  Running running({{"GET", "/", echo}}, options);
  auto wire = running.wire();
  EXPECT_EQ(wire.ask(get("/")).status, 200);
  EXPECT_EQ(wire.rest(), "");
  EXPECT_TRUE(wire.closed_by_server());
}

TEST(Server, RefusesConnectionsBeyondTheLimit) {
  ServerOptions options;
  options.max_connections = 2;
  Running running({{"GET", "/", echo}}, options);
  auto a = running.wire(), b = running.wire();
  EXPECT_EQ(a.ask(get("/")).status, 200);
  EXPECT_EQ(b.ask(get("/")).status, 200);
  EXPECT_EQ(running.wire().answer().status, 503);
  EXPECT_EQ(a.ask(get("/")).status, 200);
}

TEST(Server, SaysHowItRefusesConnections) {
  ServerOptions options;
  options.max_connections = 0;
  options.crowded_status = 429;
  Running running({{"GET", "/", echo}}, options);
  auto answer = running.wire().answer();
  EXPECT_EQ(answer.status, 429);
  EXPECT_TRUE(answer.has("Retry-After: 1"));
}

TEST(Server, HoldsAThousandIdleConnections) {
  Running running({{"GET", "/", echo}});
  std::vector<Wire> wires;
  for (int i = 0; i < 1000; ++i) {
    wires.push_back(running.wire());
    ASSERT_TRUE(wires.back().connected());
  }
  for (auto& wire : wires) wire.send("GET / HT");
  EXPECT_EQ(running.wire().ask(get("/")).status, 200);
  for (auto& wire : wires) EXPECT_EQ(wire.ask("TP/1.1\r\nHost: t\r\n\r\n").status, 200);
}

TEST(Server, TellsTheHandlerThatTheClientLeft) {
  for (bool reset : {false, true}) {
    Gate entered, told;
    Running running({{"GET", "/wait", [&](Request& request) {
                        std::stop_callback callback(request.stop, [&] { told.open(); });
                        entered.open();
                        EXPECT_TRUE(told.wait());
                        return text("too late");
                      }}});
    auto wire = running.wire();
    wire.send(get("/wait"));
    ASSERT_TRUE(entered.wait());
    if (reset) wire.reset_on_close();
    wire.close();
    EXPECT_TRUE(told.wait());
    EXPECT_TRUE(running.server.drain(10s));
  }
}

TEST(Server, AnswersAClientThatOnlyClosedItsSide) {
  Running running({{"POST", "/echo", echo}});
  auto wire = running.wire();
  wire.send(post("/echo", "last words"));
  wire.end_sending();
  EXPECT_EQ(wire.answer().body, "POST /echo last words");
  EXPECT_TRUE(wire.closed_by_server());
}

TEST(Server, ForgetsAClientThatLeavesMidBody) {
  Running running({{"POST", "/echo", echo}});
  auto wire = running.wire();
  wire.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nab");
  wire.close();
  EXPECT_TRUE(running.server.drain(10s));
}

TEST(Server, RefusesWhatTheWorkersCannotTake) {
  ServerOptions options;
  options.workers = 1;
  options.max_waiting = 1;
  Gate entered, leave;
  Running running({{"GET", "/wait",
                    [&](Request&) {
                      entered.open();
                      EXPECT_TRUE(leave.wait());
                      return text("done");
                    }},
                   {"GET", "/ping", echo, {}, false}},
                  options);
  auto busy = running.wire(), a = running.wire(), b = running.wire();
  busy.send(get("/wait"));
  ASSERT_TRUE(entered.wait());
  // One waits, and the other, whichever came last, is refused at once.
  a.send(get("/wait"));
  b.send(get("/wait"));
  EXPECT_EQ(running.wire().ask(get("/ping")).status, 200);
  pollfd either[] = {{a.fd(), POLLIN, 0}, {b.fd(), POLLIN, 0}};
  ASSERT_EQ(::poll(either, 2, 20'000), 1);
  auto &refused = either[0].revents ? a : b, &waiting = either[0].revents ? b : a;
  EXPECT_EQ(refused.answer().status, 429);
  leave.open();
  EXPECT_EQ(busy.answer().status, 200);
  EXPECT_EQ(waiting.answer().status, 200);
}

TEST(Server, DrainFinishesWhatIsInFlight) {
  Gate entered, leave;
  Running running({{"GET", "/wait", [&](Request&) {
                      entered.open();
                      EXPECT_TRUE(leave.wait());
                      return text("done");
                    }}});
  auto idle = running.wire(), busy = running.wire();
  busy.send(get("/wait"));
  ASSERT_TRUE(entered.wait());
  auto drained = std::async(std::launch::async, [&] { return running.server.drain(10s); });
  EXPECT_TRUE(idle.closed_by_server());
  EXPECT_FALSE(running.wire().connected());
  leave.open();
  auto answer = busy.answer();
  EXPECT_EQ(answer.body, "done");
  EXPECT_TRUE(answer.has("Connection: close"));
  busy.close();
  EXPECT_TRUE(drained.get());
  EXPECT_EQ(running.server.connections(), 0u);
}

TEST(Server, DrainCutsWhatDoesNotEnd) {
  Gate entered, told;
  Running running({{"GET", "/wait", [&](Request& request) {
                      std::stop_callback callback(request.stop, [&] { told.open(); });
                      entered.open();
                      EXPECT_TRUE(told.wait());
                      return text("cut");
                    }}});
  auto wire = running.wire();
  wire.send(get("/wait"));
  ASSERT_TRUE(entered.wait());
  EXPECT_FALSE(running.server.drain(20ms));
  EXPECT_EQ(wire.rest(), "");
}

TEST(Server, ReportsEachAnswer) {
  std::promise<std::string> reported;
  ServerOptions options;
  options.finished = [&](const Finished& finished) {
    reported.set_value(finished.request.id + " " + std::to_string(finished.status) + " " +
                       std::to_string(finished.body_received) + " " + std::to_string(finished.body_sent) +
                       (finished.complete ? " complete" : " broken"));
  };
  Running running({{"POST", "/echo", echo}}, options);
  auto wire = running.wire();
  wire.ask(post("/echo", "123", "x-request-id: r\r\n"));
  EXPECT_EQ(reported.get_future().get(), "r 200 3 14 complete");
}

TEST(Server, RefusesATakenPort) {
  Running running({});
  ServerOptions options;
  options.port = running.server.port();
  try {
    Server second(options, running.router.dispatch());
    FAIL() << "two servers on one port";
  } catch (const base::Error& error) {
    EXPECT_NE(std::string(error.what()).find(std::to_string(options.port)), std::string::npos);
  }
  options.host = "not-an-address";
  EXPECT_THROW(Server(options, running.router.dispatch()), base::Error);
}

TEST(Server, ServesFromSeveralIoThreads) {
  ServerOptions options;
  options.io_threads = 3;
  Running running({{"POST", "/echo", echo}}, options);
  std::vector<std::jthread> clients;
  std::atomic<int> good = 0;
  for (int c = 0; c < 8; ++c)
    clients.emplace_back([&] {
      auto wire = running.wire();
      for (int i = 0; i < 50; ++i) good += wire.ask(post("/echo", "x")).body == "POST /echo x";
    });
  clients.clear();
  EXPECT_EQ(good, 8 * 50);
}

}  // namespace
}  // namespace textmill::http
