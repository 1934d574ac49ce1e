#include "nn/record.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace textmill::nn {
namespace {

class RecordTest : public ::testing::Test {
 protected:
  template <class Record>
  void expect_refused(const std::string& why, Record record) {
    try {
      record();
      ADD_FAILURE() << "not refused: " << why;
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), base::Kind::invalid);
      EXPECT_EQ(error.what(), why);
    }
  }

  Recorder r;
  Space tokens = r.space("tokens");
  Tensor x = r.input(tokens, 12, "x");
};

TEST_F(RecordTest, RefusesShapesThatDoNotFit) {
  Linear linear(8, 4);
  linear.weight.name = "query.weight";
  Norm norm(NormKind::layer, 5, 0);
  norm.weight.name = "norm.weight";
  Tensor narrow = r.linear(x, *std::make_unique<Linear>(12, 6));
  expect_refused("recording linear: query.weight [4, 8] needs 8 columns, not 12",
                 [&] { r.linear(x, linear); });
  expect_refused("recording norm: 12 columns are no multiple of norm.weight [1, 5]",
                 [&] { r.norm(x, norm); });
  expect_refused("recording add: [tokens, 12] and [tokens, 6] differ", [&] { r.add(x, narrow); });
  expect_refused("recording activate: [tokens, 12] and [tokens, 6] differ",
                 [&] { r.activate(Activation::gelu, x, narrow); });
  expect_refused("recording attend: queries of 12 and keys of 6 columns, heads of 4",
                 [&] { r.attend(x, {.key = narrow, .value = narrow}, {.head_dim = 4}); });
  expect_refused("recording rotary: 12 columns, heads of 4, 6 of them rotated", [&] {
    r.rotary(x, {4, {1, 1, 1}});
  });
  expect_refused("recording attend: recall without a cache", [&] { r.recall(0, 6); });
  Space other = r.space("other");
  expect_refused("recording rows: the index does not point into the tensor's rows",
                 [&] { r.rows(x, r.index("which", tokens, other)); });
  expect_refused("recording mean: not the sequences of the tensor's rows", [&] { r.mean(x, other); });
}

TEST_F(RecordTest, HeadsComeFromShapes) {
  Linear key(12, 4);
  Tensor k = r.linear(x, key);
  r.attend(x, {.key = k, .value = k}, {.head_dim = 2});
  Recording recording = r.finish();
  const AttendSpec& spec = recording.ops.back().as<AttendSpec>();
  EXPECT_EQ(spec.heads, 6);
  EXPECT_EQ(spec.kv_heads, 2);
  EXPECT_DOUBLE_EQ(spec.scale, 1 / std::sqrt(2.0));
}

// What is trained and what is served draw the same dropout sites, so a recording without dropout counts them
// too.
TEST(Record, SitesAreThoseOfTraining) {
  auto sites = [](bool training) {
    Recorder r({.training = training});
    Tensor x = r.input(r.space("tokens"), 4, "x");
    r.attend(r.dropout(x, 0.1), {.key = x, .value = x}, {.head_dim = 4, .dropout = 0.1});
    return r.finish().ops.back().site;
  };
  EXPECT_EQ(sites(true), sites(false));
}

TEST(Record, AWeightHasOneNumber) {
  Recorder r;
  Weight table(5, 4);
  Space tokens = r.space("tokens");
  Tensor x = r.embed({{table, r.index("ids", tokens)}});
  r.linear(x, table);
  r.linear(x, table);
  EXPECT_EQ(r.finish().weights, std::vector<Weight*>{&table});
}

}  // namespace
}  // namespace textmill::nn
