#include "fleet/router.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/error.h"

namespace textmill::fleet {
namespace {

std::shared_ptr<const Replica> replica(std::string id) {
  auto one = std::make_shared<Replica>();
  one->id = std::move(id);
  return one;
}

base::Kind refusal(auto&& call) {
  try {
    call();
  } catch (const base::Error& error) { return error.kind(); }
  ADD_FAILURE() << "nothing was refused";
  return base::Kind::internal;
}

TEST(Router, TakesTheReplicaWithTheFewestOutstandingRequests) {
  Router router;
  auto a = replica("a"), b = replica("b");
  router.publish({{"e", {{"v", 1, {a, b}}}}});
  std::vector<std::shared_ptr<Lease>> held;
  for (int i = 0; i < 10; ++i) held.push_back(router.choose("E", ""));
  EXPECT_EQ(a->outstanding, 5);
  EXPECT_EQ(b->outstanding, 5);
  std::erase_if(held, [&](const auto& lease) { return &lease->replica() == b.get(); });
  for (int i = 0; i < 5; ++i) {
    held.push_back(router.choose("e", ""));
    EXPECT_EQ(held.back()->replica().id, "b");
  }
  held.clear();
  EXPECT_EQ(a->outstanding + b->outstanding, 0);
}

TEST(Router, TakesVariantsByTheirWeights) {
  Router router;
  router.publish({{"e",
                   {{"three", 3, {replica("a")}},
                    {"one", 1, {replica("b")}},
                    {"none", 0, {replica("c")}},
                    {"empty", 9, {}}}}});
  int three = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string variant = router.choose("e", "")->variant();
    EXPECT_TRUE(variant == "three" || variant == "one");
    three += variant == "three";
  }
  EXPECT_NEAR(three, 1500, 10);
  EXPECT_EQ(router.choose("e", "none")->variant(), "none");
  router.publish({{"e", {{"a", 0, {replica("a")}}, {"b", 0, {replica("b")}}}}});
  int first = 0;
  for (int i = 0; i < 1000; ++i) first += router.choose("e", "")->variant() == "a";
  EXPECT_NEAR(first, 500, 10);
}

TEST(Router, SaysWhyNobodyAnswers) {
  Router router;
  EXPECT_EQ(refusal([&] { router.choose("e", ""); }), base::Kind::not_found);
  router.publish({{"e", {{"v", 1, {replica("a")}}}}, {"f", {{"v", 1, {}}}}});
  EXPECT_EQ(refusal([&] { router.choose("e", "w"); }), base::Kind::invalid);
  EXPECT_EQ(refusal([&] { router.choose("e", "v", {"a"}); }), base::Kind::unavailable);
  EXPECT_EQ(refusal([&] { router.choose("f", ""); }), base::Kind::unavailable);
}

TEST(Router, KeepsCountsOverSnapshots) {
  Router router;
  auto a = replica("a"), b = replica("b");
  router.publish({{"e", {{"v", 1, {a}}}}});
  auto lease = router.choose("e", "");
  router.publish({{"e", {{"v", 1, {a, b}}}}});
  EXPECT_EQ(router.choose("e", "")->replica().id, "b");
  router.publish({});
  EXPECT_EQ(lease->replica().outstanding, 1);
}

TEST(Router, IsForManyThreads) {
  Router router;
  std::vector<std::shared_ptr<const Replica>> all = {replica("a"), replica("b"), replica("c")};
  router.publish({{"e", {{"v", 1, all}}}});
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&] {
        for (int i = 0; i < 5000; ++i) router.choose("e", "");
      });
    for (int i = 0; i < 200; ++i) router.publish({{"e", {{"v", 1, {all[i % 3], all[(i + 1) % 3]}}}}});
  }
  for (const auto& one : all) EXPECT_EQ(one->outstanding, 0);
}

}  // namespace
}  // namespace textmill::fleet
