#include "plan/endpoint.h"

#include <gtest/gtest.h>

namespace textmill::plan {
namespace {

using What = EndpointAction::What;
using Is = Instance::Status;
using Now = Endpoint::Status;

Instance one(Is status, bool alive, bool healthy = false) {
  return {.id = "i", .variant = "v", .status = status, .begun = true, .alive = alive, .healthy = healthy};
}

struct Row {
  const char* what;
  Now status;
  std::vector<Instance> instances;
  std::vector<What> expected;
};

TEST(DecideEndpoint, ByTable) {
  Instance preparing{.id = "i", .variant = "v", .preparing = true};
  Instance stopped{.id = "i", .variant = "v", .status = Is::stopping, .preparing = true};
  Instance never{.id = "i", .variant = "v"};
  Instance slow = one(Is::starting, true);
  slow.age = 1000;
  Instance hung = one(Is::ready, true);
  hung.hung = true;
  Instance barred{.id = "i", .variant = "v", .trouble = "ClientError: no such image"};
  const Row rows[] = {
      {"a new one", Now::creating, {}, {What::start}},
      {"being laid out", Now::creating, {preparing}, {}},
      {"laid out by a server that was killed", Now::creating, {never}, {What::forget, What::start}},
      {"no answer yet", Now::creating, {one(Is::starting, true)}, {}},
      {"the first good answer", Now::creating, {one(Is::starting, true, true)}, {What::ready}},
      {"ready", Now::creating, {one(Is::ready, true)}, {What::in_service}},
      {"exits at once", Now::creating, {one(Is::starting, false)}, {What::forget, What::fail}},
      {"cannot be started", Now::creating, {barred}, {What::forget, What::fail}},
      {"takes too long", Now::creating, {slow}, {What::stop, What::fail}},
      {"dies just before it is in service",
       Now::creating,
       {one(Is::ready, false)},
       {What::forget, What::start}},
      {"all is well", Now::in_service, {one(Is::ready, true)}, {}},
      {"hung", Now::in_service, {hung}, {What::stop}},
      {"killed", Now::in_service, {one(Is::ready, false)}, {What::forget, What::start}},
      {"its successor fails", Now::in_service, {one(Is::starting, false)}, {What::forget, What::start}},
      {"its successor is on the way", Now::in_service, {one(Is::starting, true)}, {}},
      {"failed: the others go", Now::failed, {one(Is::ready, true)}, {What::stop}},
      {"failed: gone", Now::failed, {one(Is::stopping, false)}, {What::forget}},
      {"deleted", Now::deleting, {one(Is::ready, true)}, {What::stop}},
      {"going", Now::deleting, {one(Is::stopping, true)}, {}},
      {"gone", Now::deleting, {one(Is::stopping, false)}, {What::forget}},
      {"nothing left", Now::deleting, {}, {What::remove}},
      {"deleted while one is laid out", Now::deleting, {preparing}, {What::stop}},
      {"deleted, one is laid out no longer", Now::deleting, {stopped}, {}},
  };
  for (const Row& row : rows) {
    Endpoint endpoint{.status = row.status, .variants = {{.name = "v"}}, .instances = row.instances};
    std::vector<What> got;
    for (const auto& action : decide(endpoint)) got.push_back(action.what);
    EXPECT_EQ(got, row.expected) << row.what;
  }
}

TEST(DecideEndpoint, FailsInTheServicesWords) {
  Instance gone = one(Is::starting, false);
  gone.last_words = "no module named torch";
  auto actions = decide({.variants = {{.name = "v"}}, .instances = {gone}});
  ASSERT_EQ(actions.back().what, What::fail);
  EXPECT_EQ(actions.back().reason,
            "The primary container for production variant v did not pass the ping health check. Please check "
            "CloudWatch "
            "logs for this endpoint. Its last lines: no module named torch");
}

TEST(DecideEndpoint, OneThatEndsByItselfIsAFailureWhateverItAnsweredBefore) {
  auto actions =
      decide({.status = Now::in_service, .variants = {{.name = "v"}}, .instances = {one(Is::ready, false)}});
  EXPECT_EQ(actions[0], (EndpointAction{What::forget, "i", "it ended by itself"}));
}

TEST(DecideEndpoint, FillsEachVariantAndKeepsItsPauses) {
  Endpoint endpoint{.status = Now::in_service,
                    .variants = {{.name = "v", .wanted = 3}, {.name = "w", .pause = 1}}};
  endpoint.instances = {one(Is::ready, true)};
  EXPECT_EQ(decide(endpoint), (std::vector<EndpointAction>{{What::start, "v"}, {What::start, "v"}}));
}

}  // namespace
}  // namespace textmill::plan
