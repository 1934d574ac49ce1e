#include "nn/batch.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace textmill::nn {
namespace {

using Ints = std::vector<int32_t>;

class BatchTest : public ::testing::Test {
 protected:
  BatchTest() {
    Recorder r;
    tokens = r.space("tokens");
    sequences = r.sequences(tokens);
    ids = r.index("ids", tokens);
    chosen = r.selection("chosen", tokens);
    labels = r.index("labels", chosen.of);
    weight = r.input(chosen.of, 1, "weight");
    Tensor x = r.embed({{table, ids}, {places, r.positions(tokens, 1)}});
    r.cross_entropy(r.rows(x, chosen), labels, weight);
    r.output(r.rows(x, r.last(tokens, sequences)));
    recording = r.finish();
    batch.set_rows(tokens, Ints{2, 3});
    batch.set_index(ids, Ints{0, 4, 2, 1, 3});
    batch.set_index(chosen, Ints{4, 0, 4});
    batch.set_index(labels, Ints{2, -1, 0});
    batch.set_input(weight, std::vector<float>{1, 1, 1});
  }

  void expect_refused(const std::string& why) {
    try {
      batch.derive(recording);
      ADD_FAILURE() << "not refused: " << why;
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), base::Kind::invalid);
      EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what();
    }
  }

  Weight table{5, 3}, places{5, 3};
  Space tokens, sequences;
  Index ids, chosen, labels;
  Tensor weight;
  Recording recording;
  Batch batch;
};

TEST_F(BatchTest, DerivesRowsAndIndexes) {
  batch.derive(recording);
  const Rows& rows = batch.rows(tokens.id);
  EXPECT_EQ(rows.count, 5);
  EXPECT_EQ(rows.seq, (Ints{0, 0, 1, 1, 1}));
  EXPECT_EQ(rows.pos, (Ints{0, 1, 0, 1, 2}));
  EXPECT_EQ(rows.begin, (Ints{0, 2, 5}));
  EXPECT_EQ(batch.rows(sequences.id).count, 2);
  EXPECT_EQ(batch.rows(sequences.id).seq, (Ints{0, 1}));
  const Rows& picked = batch.rows(chosen.of.id);
  EXPECT_EQ(picked.seq, (Ints{1, 0, 1}));
  EXPECT_EQ(picked.pos, (Ints{2, 0, 2}));
  EXPECT_EQ(picked.key, (std::vector<uint64_t>{rows.key[4], rows.key[0], rows.key[4]}));
  auto index = [&](const std::string& name) {
    size_t i = 0;
    while (recording.indexes[i].name != name) i++;
    auto values = batch.index(static_cast<int>(i));
    return Ints(values.begin(), values.end());
  };
  EXPECT_EQ(index("positions"), (Ints{1, 2, 1, 2, 3}));
  EXPECT_EQ(index("last"), (Ints{1, 4}));
}

TEST_F(BatchTest, KeysSayWhoARowIs) {
  batch.set_rows(tokens, Ints{3, 2}, {}, std::vector<uint64_t>{7, 9});
  std::vector<uint64_t> keys = batch.rows(tokens.id).key;
  batch.set_rows(tokens, Ints{2}, {}, std::vector<uint64_t>{9});
  EXPECT_EQ(batch.rows(tokens.id).key, (std::vector<uint64_t>{keys[3], keys[4]}));
  batch.set_rows(tokens, Ints{1}, Ints{2}, std::vector<uint64_t>{7});
  EXPECT_EQ(batch.rows(tokens.id).key, (std::vector<uint64_t>{keys[2]}));
  EXPECT_EQ(batch.rows(tokens.id).pos, (Ints{2}));
}

TEST_F(BatchTest, RowsAloneAreEnoughToPlan) {
  Batch lengths;
  lengths.set_rows(tokens, Ints{4, 4});
  lengths.set_index(chosen, Ints{0});
  lengths.derive_rows(recording);
  EXPECT_EQ(lengths.rows(sequences.id).count, 2);
}

TEST_F(BatchTest, RefusesWhatIsMissing) {
  batch = {};
  expect_refused("no rows for tokens");
  batch.set_rows(tokens, Ints{2});
  expect_refused("ids has 0 values for 2 rows of tokens");
}

TEST_F(BatchTest, RefusesTheWrongCount) {
  batch.set_index(ids, Ints{0, 1, 2, 3});
  expect_refused("ids has 4 values for 5 rows of tokens");
}

TEST_F(BatchTest, RefusesAnInputOfTheWrongSize) {
  batch.set_input(weight, std::vector<float>{1, 1});
  expect_refused("input weight has 2 values, not 3");
}

TEST_F(BatchTest, RefusesIdsOutsideOfTheTable) {
  batch.set_index(ids, Ints{0, 4, 5, 1, 3});
  expect_refused("ids[2] = 5 is outside of [0, 5)");
  batch.set_index(ids, Ints{0, -1, 2, 1, 3});
  expect_refused("ids[1] = -1 is outside of [0, 5)");
}

TEST_F(BatchTest, RefusesASequenceLongerThanThePositionTable) {
  batch.set_rows(tokens, Ints{5});
  expect_refused("positions[4] = 5 is outside of [0, 5)");
}

TEST_F(BatchTest, RefusesRowsThatAreNotThere) {
  batch.set_index(chosen, Ints{5, 0, 1});
  expect_refused("chosen[0] = 5 is outside of [0, 5)");
}

TEST_F(BatchTest, RefusesLabelsBeyondTheClasses) {
  batch.set_index(labels, Ints{3, 0, 0});
  expect_refused("labels[0] = 3");
}

TEST_F(BatchTest, RefusesAnEmptySequence) {
  batch.set_rows(tokens, Ints{2, 0, 3});
  expect_refused("sequence 1 of tokens is empty");
}

TEST(BatchAttend, RefusesRangesBeyondTheKeys) {
  Recorder r;
  Space tokens = r.space("tokens"), image = r.space("image");
  Index from = r.index("from", tokens), to = r.index("to", tokens);
  Tensor x = r.input(tokens, 4, "x"), k = r.input(image, 4, "k");
  r.output(r.attend(x, {.key = k, .value = k}, {.head_dim = 2, .from = from, .to = to}));
  Recording recording = r.finish();
  Batch batch;
  batch.set_rows(tokens, Ints{1, 1});
  batch.set_rows(image, Ints{2, 3});
  batch.set_index(from, Ints{0, 0});
  batch.set_input(x, std::vector<float>(8));
  batch.set_input(k, std::vector<float>(20));
  batch.set_index(to, Ints{2, 3});
  EXPECT_NO_THROW(batch.derive(recording));
  batch.set_index(to, Ints{3, 3});
  EXPECT_THROW(batch.derive(recording), base::Error);
  batch.set_rows(image, Ints{5});
  EXPECT_THROW(batch.derive(recording), base::Error);
}

TEST(BatchCache, RefusesASequenceWithoutACache) {
  Recorder r({.cached = true});
  Space tokens = r.space("tokens");
  Tensor x = r.input(tokens, 4, "x");
  r.output(r.attend(x, r.remember(x, x, 0), {.head_dim = 2, .causal = true}));
  Recording recording = r.finish();
  Batch batch;
  batch.set_rows(tokens, Ints{1, 1});
  batch.set_input(x, std::vector<float>(8));
  batch.caches = {3};
  EXPECT_THROW(batch.derive(recording), base::Error);
  batch.caches = {3, 4};
  EXPECT_NO_THROW(batch.derive(recording));
}

}  // namespace
}  // namespace textmill::nn
