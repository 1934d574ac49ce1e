#include "nn/checkpoint.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "base/error.h"

namespace textmill::nn {
namespace {

std::vector<float> counting(int count, float from = 0) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), from);
  return values;
}

struct Layer {
  void fields(const Fields& f) {
    f("dense", dense);
    f("LayerNorm", norm);
  }
  Linear dense{3, 2};
  Norm norm{NormKind::layer, 2, 1e-5};
};

class CheckpointTest : public ::testing::Test {
 protected:
  /// A file of f32 tensors counting up from 0.
  Safetensors write(const std::vector<std::pair<std::string, std::vector<int64_t>>>& shapes) {
    std::vector<std::vector<float>> values;
    std::vector<TensorToWrite> tensors;
    for (const auto& [name, shape] : shapes) {
      values.push_back(counting(
          static_cast<int>(std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>()))));
    }
    for (size_t i = 0; i < shapes.size(); i++) {
      tensors.push_back({shapes[i].first, "F32", shapes[i].second, std::as_bytes(std::span(values[i]))});
    }
    write_safetensors(folder.path() / "model.safetensors", tensors);
    return Safetensors(folder.path());
  }

  static std::vector<float> values(const Weight& weight) {
    std::vector<float> out(weight.count());
    weight.read(0, weight.rows, out.data());
    return out;
  }

  base::TemporaryFolder folder;
  Layer layer;
  std::vector<Weight*> weights = fields(layer, "bert.0");
};

TEST_F(CheckpointTest, BorrowsByName) {
  Safetensors file = write({{"bert.0.dense.weight", {2, 3}},
                            {"bert.0.dense.bias", {2}},
                            {"bert.0.LayerNorm.weight", {2}},
                            {"bert.0.LayerNorm.bias", {2}},
                            {"unused", {4}}});
  EXPECT_TRUE(load_weights(weights, file, "bert").empty());
  EXPECT_EQ(layer.dense.weight.bytes().data(), file.find("bert.0.dense.weight")->bytes.data());
  EXPECT_EQ(values(layer.dense.weight), counting(6));
  EXPECT_EQ(count_parameters(weights), 12);
}

// A checkpoint's moments are written, under these names, while the weights are being listed.
TEST_F(CheckpointTest, ListedAgainTheNamesStayWhereTheyAre) {
  const char* before = weights[0]->name.data();
  ASSERT_GT(weights[0]->name.size(), std::string().capacity()) << "a short name lies in the string itself";
  fields(layer, "bert.0");
  EXPECT_EQ(weights[0]->name.data(), before);
}

TEST_F(CheckpointTest, AnswersToOldNames) {
  Safetensors file = write({{"0.dense.weight", {2, 3}},
                            {"0.dense.bias", {2}},
                            {"0.LayerNorm.gamma", {2}},
                            {"0.LayerNorm.beta", {2}}});
  EXPECT_TRUE(load_weights(weights, file, "bert").empty());
  EXPECT_EQ(values(layer.norm.weight), counting(2));
}

TEST_F(CheckpointTest, SaysWhatIsMissing) {
  Safetensors file = write({{"bert.0.dense.weight", {2, 3}}, {"bert.0.LayerNorm.weight", {2}}});
  auto missing = load_weights(weights, file, "bert");
  EXPECT_EQ(missing, (std::vector<Weight*>{&layer.dense.bias, &layer.norm.bias}));
  EXPECT_NO_THROW(require_weights({}, file));
  try {
    require_weights(missing, file);
    ADD_FAILURE();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.what(), file.path().string() + ": no tensor bert.0.dense.bias, bert.0.LayerNorm.bias");
  }
}

TEST_F(CheckpointTest, RefusesAWrongShape) {
  Safetensors file = write({{"bert.0.dense.weight", {3, 2}}});
  try {
    load_weights(weights, file, "bert");
    ADD_FAILURE();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.what(),
              file.path().string() + ": bert.0.dense.weight has the shape [3, 2], expected [2, 3]");
  }
}

TEST_F(CheckpointTest, SplitsAndJoinsWhatSharesATensor) {
  Linear parts[3] = {{2, 4}, {2, 4}, {2, 4}};  // two heads of 2 rows each
  std::vector<Weight*> list;
  for (int i = 0; i < 3; i++) {
    parts[i].weight.share = parts[i].bias.share = {.index = i, .count = 3, .block = 2};
    Fields{list}("qkv", parts[i]);
  }
  Safetensors file = write({{"qkv.weight", {12, 2}}, {"qkv.bias", {12}}});
  EXPECT_TRUE(load_weights(list, file, "").empty());
  EXPECT_EQ(values(parts[1].weight), (std::vector<float>{4, 5, 6, 7, 16, 17, 18, 19}));
  EXPECT_EQ(values(parts[2].bias), (std::vector<float>{4, 5, 10, 11}));
  save_weights(list, folder.path() / "again.safetensors");
  Safetensors again(folder.path() / "again.safetensors");
  for (const auto& [name, tensor] : file.tensors()) {
    const StoredTensor* same = again.find(name);
    ASSERT_NE(same, nullptr);
    EXPECT_EQ(same->shape, tensor.shape);
    EXPECT_TRUE(std::ranges::equal(same->bytes, tensor.bytes));
  }
}

TEST_F(CheckpointTest, InitializesBySeedAndName) {
  Linear big(100, 100), other(100, 100);
  std::vector<Weight*> list;
  Fields{list}("big", big);
  Fields{list}("other", other);
  initialize_weights(list, 0.02, 1);
  std::vector<float> first = values(big.weight);
  double sum = 0, squares = 0;
  for (float value : first) {
    sum += value;
    squares += double{value} * value;
    EXPECT_LE(std::abs(value), 0.04f);
  }
  EXPECT_NEAR(sum / 1e4, 0, 0.001);
  EXPECT_NEAR(std::sqrt(squares / 1e4), 0.02 * 0.8796, 0.0005);  // a normal cut at 2 deviations
  EXPECT_NE(values(other.weight), first);
  EXPECT_EQ(values(big.bias), std::vector<float>(100));
  initialize_weights(list, 0.02, 2);
  EXPECT_NE(values(big.weight), first);
  initialize_weights(list, 0.02, 1);
  EXPECT_EQ(values(big.weight), first);
}

TEST(Weight, ReadsEveryDtype) {
  const uint16_t bf16[] = {0x3f80, 0xc000}, f16[] = {0x3c00, 0xc000, 0x0001, 0x7c00};
  Weight weight = Weight::vector(2);
  float out[4];
  weight.borrow(Dtype::bf16, std::as_bytes(std::span(bf16)));
  weight.read(0, 1, out);
  EXPECT_EQ(out[0], 1);
  EXPECT_EQ(out[1], -2);
  EXPECT_THROW(weight.borrow(Dtype::f32, std::as_bytes(std::span(bf16))), base::Error);
  Weight half(2, 2);
  half.borrow(Dtype::f16, std::as_bytes(std::span(f16)));
  half.read(0, 2, out);
  EXPECT_EQ(out[0], 1);
  EXPECT_EQ(out[1], -2);
  EXPECT_EQ(out[2], 0x1p-24f);
  EXPECT_EQ(out[3], INFINITY);
  half.read(1, 1, out);
  EXPECT_EQ(out[0], 0x1p-24f);
  EXPECT_EQ(half.own()[0], 1);
  half.own()[0] = 5;
  EXPECT_EQ(half.own()[0], 5);
  EXPECT_EQ(half.dtype(), Dtype::f32);
  half.release();
  EXPECT_FALSE(half.has_values());
}

}  // namespace
}  // namespace textmill::nn
