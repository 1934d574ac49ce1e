#include "serve/service.h"

#include <gtest/gtest.h>

#include <optional>

#include "http/test_wire.h"

namespace textmill::serve {
namespace {

using namespace std::chrono_literals;

/// A model with two labels; its logits are the number of bytes of the text and 0.
Model counting_model() {
  return {.encode =
              [](std::string_view text, auto, auto) {
                std::vector<int32_t> ids(std::max<size_t>(text.size(), 1));
                return tasks::PackedItem{ids, ids};
              },
          .unpad =
              [](auto ids, auto, auto) {
                return tasks::PackedItem{std::vector<int32_t>(ids.begin(), ids.end()), {}};
              },
          .scores = tasks::ScoreFunction::none,
          .labels = {"no", "yes"}};
}

std::string ask(const std::string& body) {
  return "POST /invocations HTTP/1.1\r\nHost: t\r\nContent-Type: text/plain\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + body;
}

/// As serve() holds them: the server is there before a model is, and goes after it.
struct Running {
  explicit Running(Batcher::Run run, const BatcherOptions& options = {})
      : service(1000), server({}, service.router().dispatch()), batcher(std::move(run), 2, options) {
    service.open(model, batcher);
  }
  http::Wire wire() const { return http::Wire(server.port()); }

  Service service;
  http::Server server;
  Model model = counting_model();
  Batcher batcher;
};

void count(std::span<const tasks::PackedItem* const> items, std::vector<float>& logits) {
  logits.clear();
  for (const auto* item : items) {
    logits.push_back(static_cast<float>(item->input_ids.size()));
    logits.push_back(0);
  }
}

TEST(Service, AnswersThroughTheBatcher) {
  Running running(count);
  auto answer = running.wire().ask(ask("four"));
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, R"([{"label":"no","score":4.0}])");
}

TEST(Service, AModelThatThrowsFailsItsBatchAndGoesOn) {
  Running running([](auto items, auto& logits) {
    if (items[0]->input_ids.size() == 3) throw std::runtime_error("three");
    count(items, logits);
  });
  auto wire = running.wire();
  auto failed = wire.ask(ask("123"));
  EXPECT_EQ(failed.status, 424);
  EXPECT_NE(failed.body.find("three"), std::string::npos);
  EXPECT_EQ(wire.ask(ask("1234")).status, 200);
}

TEST(Service, AnInputThatFailsDoesNotFailItsNeighbours) {
  http::Gate entered, leave;
  Running running([&](auto items, auto& logits) {
    entered.open();
    EXPECT_TRUE(leave.wait());
    for (const auto* item : items)
      if (item->input_ids.size() == 3) throw std::runtime_error("three");
    count(items, logits);
  });
  auto first = running.wire(), innocent = running.wire(), guilty = running.wire(), last = running.wire();
  first.send(ask("a"));
  ASSERT_TRUE(entered.wait());
  innocent.send(ask("12"));  // while the model is busy: these three run together
  guilty.send(ask("123"));
  last.send(ask("1234"));
  while (running.batcher.queued() < 3) std::this_thread::yield();
  leave.open();
  EXPECT_EQ(first.answer().status, 200);
  EXPECT_EQ(innocent.answer().body, R"([{"label":"no","score":2.0}])");
  EXPECT_EQ(guilty.answer().status, 424);
  EXPECT_EQ(last.answer().body, R"([{"label":"no","score":4.0}])");
}

TEST(Service, AnEncodingOfTheBodyIsNotUnderstood) {
  Running running(count);
  auto encoded = [&](const std::string& coding) {
    return running.wire().ask(
        "POST /invocations HTTP/1.1\r\nHost: t\r\nContent-Type: text/plain\r\nContent-Encoding: " + coding +
        "\r\nContent-Length: 1\r\n\r\nx");
  };
  auto refused = encoded("gzip");
  EXPECT_EQ(refused.status, 415);
  EXPECT_NE(refused.body.find("Content-Encoding gzip"), std::string::npos);
  EXPECT_EQ(encoded("Identity").status, 200);
}

/// A model that is at work on "a" until `leave` opens, while "b" waits. The gates outlive what waits at them.
class BusyService : public testing::Test {
 protected:
  void SetUp() override {
    runs.send(ask("a"));
    ASSERT_TRUE(entered.wait());
    waits.send(ask("b"));
    while (running->batcher.queued() == 0) std::this_thread::yield();
    running->service.drain();
  }

  http::Gate entered, leave;
  std::optional<Running> running{std::in_place,
                                 [this](auto items, auto& logits) {
                                   entered.open();
                                   EXPECT_TRUE(leave.wait());
                                   count(items, logits);
                                 },
                                 BatcherOptions{.max_batch_tokens = 1}};
  http::Wire runs = running->wire(), waits = running->wire();
};

// What a drain cuts off is still queued: the batcher answers it after the connection is gone, and both are destroyed
// before the server. The address sanitizer watches.
TEST_F(BusyService, ADrainThatRunsOutOfTimeLeavesNothingDangling) {
  EXPECT_FALSE(running->server.drain(20ms));
  EXPECT_EQ(runs.rest(), "");
  EXPECT_EQ(waits.rest(), "");
  leave.open();
  running.reset();
}

TEST_F(BusyService, WhatWaitsTooLongInADrainIs503) {
  running->batcher.refuse_waiting();
  auto refused = waits.answer();
  EXPECT_EQ(refused.status, 503);
  EXPECT_TRUE(refused.has("Retry-After: 1"));
  leave.open();
  EXPECT_EQ(runs.answer().status, 200);
}

TEST(Service, ARequestThatComesWhileItDrainsIs503) {
  Running running(count);
  auto wire = running.wire();
  wire.send(
      "POST /invocations HTTP/1.1\r\nHost: t\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n"
      "Expect: 100-continue\r\n\r\n");
  EXPECT_EQ(wire.until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");  // the head was read
  running.service.drain();
  auto answer = wire.ask("x");
  EXPECT_EQ(answer.status, 503);
  EXPECT_TRUE(answer.has("Retry-After: 1"));
}

}  // namespace
}  // namespace textmill::serve
