#include "offline/describe.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "tasks/testing.h"

namespace textmill::offline {
namespace {

int64_t number(const format::Json& json, std::string_view path) {
  return format::JsonView(json, "describe").at(path).integer(1);
}

TEST(Describe, counts_what_a_model_holds_and_takes) {
  base::TemporaryFolder folder;
  tasks::testing::write_tiny_model(folder.path(), {.labels = {"a", "b", "c"}});
  auto json = describe(folder.path());
  // 16 words, 24 positions, 2 types of 32; a norm; two layers (4 products of 32x32, 2 of 32x48, 2 norms); pooler; 3 labels.
  int64_t layer = 4 * (32 * 32 + 32) + (32 * 48 + 48) + (48 * 32 + 32) + 4 * 32;
  int64_t all = (16 + 24 + 2) * 32 + 64 + 2 * layer + (32 * 32 + 32) + (32 * 3 + 3);
  EXPECT_EQ(number(json, "parameters"), all);
  EXPECT_EQ(number(json, "bytes.f32"), 4 * all);
  EXPECT_EQ(number(json, "bytes.bf16"), 2 * all);
  EXPECT_EQ(number(json, "max_length"), 24);
  EXPECT_EQ(number(json, "memory.tokens"), 24 * 16);
  EXPECT_GT(number(json, "memory.serve.f32"), 4 * (all - 42 * 32));
  EXPECT_GT(number(json, "memory.train.f32"), number(json, "memory.serve.f32") + 16 * all);
  EXPECT_GT(number(json, "memory.train.f32"), number(json, "memory.train.bf16"));
  EXPECT_GT(number(json, "flops_per_token.train"), 2 * number(json, "flops_per_token.serve"));
  EXPECT_EQ(format::to_text(*json.find("labels")), R"(["a","b","c"])");
}

TEST(Describe, a_bare_encoder_embeds) {
  base::TemporaryFolder folder;
  tasks::testing::write_tiny_model(folder.path(), {.head = false});
  auto json = describe(folder.path());
  EXPECT_EQ(*json.find("task")->string(), "embedding");
  EXPECT_EQ(number(json, "embedding.dimensions"), 32);
  EXPECT_EQ(json.find("labels"), nullptr);
}

TEST(Describe, what_is_not_ours_exits_with_2) {
  base::TemporaryFolder folder;
  try {
    describe(folder.path());
    FAIL();
  } catch (const base::Error& error) { EXPECT_EQ(base::exit_status(error.kind()), 2); }
}

}  // namespace
}  // namespace textmill::offline
