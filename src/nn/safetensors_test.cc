#include "nn/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"

namespace textmill::nn {
namespace {

std::string message_of(auto&& action, base::Kind kind = base::Kind::invalid) {
  try {
    action();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  return "(nothing thrown)";
}

/// A file with this header and as many bytes of data.
std::string file_of(std::string_view header, size_t data) {
  uint64_t length = header.size();
  std::string out(reinterpret_cast<const char*>(&length), 8);
  out += header;
  for (size_t i = 0; i < data; ++i) out += static_cast<char>(i);
  return out;
}

std::map<std::string, StoredTensor> parse(const std::string& file) {
  return parse_safetensors(std::as_bytes(std::span(file)), "f");
}

std::string refusal(std::string_view header, size_t data) {
  return message_of([&] { parse(file_of(header, data)); });
}

std::span<const std::byte> bytes_of(const auto& values) { return std::as_bytes(std::span(values)); }

TEST(Safetensors, reads_what_it_writes) {
  base::TemporaryFolder folder;
  base::Path path = folder.path() / "model.safetensors";
  std::vector<float> a = {1, 2, 3, 4, 5, 6};
  std::vector<uint16_t> b = {0x3f80};
  std::vector<int64_t> c = {7, 8};
  std::vector<uint8_t> d = {1, 0, 1};
  write_safetensors(path, {{"d", "BOOL", {3}, bytes_of(d)},
                           {"a.weight", "F32", {2, 3}, bytes_of(a)},
                           {"scalar", "BF16", {}, bytes_of(b)},
                           {"c", "I64", {2}, bytes_of(c)},
                           {"empty", "F32", {0, 5}, {}}});
  for (const base::Path& from : {path, folder.path()}) {
    Safetensors file(from);
    ASSERT_EQ(file.tensors().size(), 5u);
    EXPECT_EQ(file.total_bytes(), 24 + 2 + 16 + 3);
    const StoredTensor* weight = file.find("a.weight");
    ASSERT_NE(weight, nullptr);
    EXPECT_EQ(weight->dtype, "F32");
    EXPECT_EQ(weight->weight_dtype("a.weight"), Dtype::f32);
    EXPECT_EQ(weight->shape, (std::vector<int64_t>{2, 3}));
    EXPECT_EQ(weight->count(), 6);
    EXPECT_EQ(std::memcmp(weight->bytes.data(), a.data(), 24), 0);
    file.release_pages();
    EXPECT_EQ(std::memcmp(file.find("c")->bytes.data(), c.data(), 16), 0);
    EXPECT_EQ(file.find("empty")->count(), 0);
    EXPECT_EQ(file.find("scalar")->count(), 1);
    EXPECT_EQ(file.find("none"), nullptr);
    EXPECT_EQ(message_of([&] { file.find("c")->weight_dtype("c"); }),
              "c: is I64, expected F32, F16, BF16 or I8");
  }
}

TEST(Safetensors, write_refuses_what_does_not_fit) {
  base::TemporaryFolder folder;
  base::Path path = folder.path() / "x";
  std::vector<float> a = {1, 2};
  EXPECT_NE(message_of([&] {
              write_safetensors(path, {{"a", "F32", {3}, bytes_of(a)}});
            }).find("a: 8 bytes are not F32 [3]"),
            std::string::npos);
  EXPECT_NE(message_of([&] {
              write_safetensors(path, {{"a", "F31", {2}, bytes_of(a)}});
            }),
            "(nothing thrown)");
  EXPECT_NE(message_of([&] {
              write_safetensors(path, {{"a", "F32", {2}, bytes_of(a)}, {"a", "F32", {2}, bytes_of(a)}});
            }).find("a comes twice"),
            std::string::npos);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Safetensors, askew_tensors_are_aligned) {
  base::TemporaryFolder folder;
  std::string header =
      R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})";
  base::write_file_durably(folder.path() / "f", file_of(header, 5));
  Safetensors file(folder.path() / "f");
  auto bytes = file.find("b")->bytes;
  EXPECT_EQ(reinterpret_cast<uintptr_t>(bytes.data()) % 4, 0u);
  EXPECT_EQ(std::memcmp(bytes.data(), "\1\2\3\4", 4), 0);
}

TEST(Safetensors, lying_headers) {
  EXPECT_EQ(message_of([] { parse("1234567"); }), "f: 7 bytes are no safetensors file");
  std::string huge(16, '\0');
  huge[7] = 0x10;  // 2^60
  EXPECT_EQ(message_of([&] { parse(huge); }),
            "f: the header says it is 1152921504606846976 bytes long, the file has 16");
  EXPECT_EQ(message_of([&] { parse(file_of("{}", 0).substr(0, 9)); }),
            "f: the header says it is 2 bytes long, the file has 9");
  EXPECT_EQ(refusal("{", 0), "f: header:1:2: incomplete JSON");
  EXPECT_EQ(refusal("[]", 0), "f: expected an object, got an array of 0");
  EXPECT_EQ(refusal(R"({"a":1})", 0), "f: a: expected an object, got 1");
  EXPECT_EQ(refusal(R"({"__metadata__":{"a":1}})", 0), "f: __metadata__.a: expected a string, got 1");
  EXPECT_EQ(refusal(R"({"a":{"dtype":"F32","shape":[1]}})", 4), "f: a: data_offsets is missing");
  EXPECT_EQ(refusal(R"({"a":{"dtype":"Q4","shape":[1],"data_offsets":[0,4]}})", 4),
            "f: a.dtype: expected a dtype of the format, got \"Q4\"");
}

TEST(Safetensors, lying_offsets_and_shapes) {
  auto one = [](std::string_view shape, std::string_view offsets, size_t data) {
    std::string header = "{\"a\":{\"dtype\":\"F32\",\"shape\":[";
    header.append(shape).append("],\"data_offsets\":[").append(offsets).append("]}}");
    return refusal(header, data);
  };
  std::string outside = "expected a begin and an end within the 4 bytes of data";
  EXPECT_EQ(one("1", "0,8", 4), "f: a: data_offsets [0, 8]: " + outside);
  EXPECT_EQ(one("1", "4,0", 4), "f: a: data_offsets [4, 0]: " + outside);
  EXPECT_EQ(one("1", "0", 4), "f: a: data_offsets [0]: " + outside);
  EXPECT_EQ(one("1", "-4,0", 4), "f: a.data_offsets[0]: expected an integer of at least 0, got -4");
  EXPECT_EQ(one("1", "0,4611686018427387904", 4), "f: a: data_offsets [0, 4611686018427387904]: " + outside);
  EXPECT_EQ(one("2", "0,4", 4), "f: a: F32 [2] takes 8 bytes, but the offsets span 4");
  EXPECT_EQ(one("1152921504606846976,16", "0,4", 4),
            "f: a: F32 [1152921504606846976, 16] takes more than 2^63 bytes, but the offsets span 4");
  EXPECT_EQ(one("4611686018427387905", "0,4", 4),
            "f: a: F32 [4611686018427387905] takes more than 2^63 bytes, but the offsets span 4");
  EXPECT_EQ(one("-1", "0,4", 4), "f: a.shape[0]: expected an integer of at least 0, got -1");
  EXPECT_EQ(one("1", "0,4", 5), "f: 1 bytes after a belong to no tensor");
}

TEST(Safetensors, tensors_tile_the_data) {
  auto two = [](std::string_view first, std::string_view second, size_t data) {
    std::string header = R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[)";
    header.append(first)
        .append(R"(]},"b":{"dtype":"U8","shape":[2],"data_offsets":[)")
        .append(second)
        .append("]}}");
    return refusal(header, data);
  };
  EXPECT_EQ(two("0,2", "2,4", 4), "(nothing thrown)");
  EXPECT_EQ(two("2,4", "0,2", 4), "(nothing thrown)");
  EXPECT_EQ(two("0,2", "1,3", 3), "f: a and b overlap");
  EXPECT_EQ(two("0,2", "0,2", 2), "f: a and b overlap");
  EXPECT_EQ(two("0,2", "3,5", 5), "f: 1 bytes between a and b belong to no tensor");
  EXPECT_EQ(two("1,3", "3,5", 5), "f: 1 bytes between the header and a belong to no tensor");
  EXPECT_EQ(
      refusal(
          R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
          0)
          .substr(0, 10),
      "f: header:");
}

class Shards : public testing::Test {
 protected:
  void shard(const std::string& file, std::vector<std::string> names) {
    static const float value = 1;
    std::vector<TensorToWrite> tensors;
    for (auto& name : names) tensors.push_back({name, "F32", {1}, std::as_bytes(std::span(&value, 1))});
    write_safetensors(folder.path() / file, tensors);
  }
  std::string read(const std::string& map) {
    base::write_file_durably(folder.path() / "model.safetensors.index.json",
                             "{\"weight_map\":{" + map + "}}");
    return message_of([&] { EXPECT_EQ(Safetensors(folder.path()).tensors().size(), 3u); });
  }
  base::TemporaryFolder folder;
};

TEST_F(Shards, are_one_map) {
  shard("1.safetensors", {"a", "b"});
  shard("2.safetensors", {"c"});
  EXPECT_EQ(read(R"("a":"1.safetensors","b":"1.safetensors","c":"2.safetensors")"), "(nothing thrown)");
}

TEST_F(Shards, must_agree_with_the_index) {
  shard("1.safetensors", {"a", "b"});
  shard("2.safetensors", {"c"});
  shard("3.safetensors", {"a"});
  std::string front = folder.path().string() + "/";
  EXPECT_EQ(read(R"("a":"1.safetensors","b":"2.safetensors","c":"2.safetensors")"),
            front + "1.safetensors: holds 2 tensors, model.safetensors.index.json lists 1");
  EXPECT_EQ(read(R"("d":"1.safetensors","b":"1.safetensors")"), front + "1.safetensors: d is missing");
  EXPECT_EQ(read(R"("b":"1.safetensors","a":"3.safetensors")"),
            front + "1.safetensors: holds 2 tensors, model.safetensors.index.json lists 1");
  EXPECT_EQ(read(R"("x":"1.safetensors","y":"1.safetensors","a":"3.safetensors")"),
            front + "1.safetensors: x is missing");
  EXPECT_EQ(read(R"("a":"../1.safetensors")"),
            front +
                "model.safetensors.index.json: weight_map.a: expected the name of a file in the folder, got "
                "\"../1.safetensors\"");
}

TEST_F(Shards, a_missing_shard_or_no_file_at_all_is_named) {
  std::string front = folder.path().string();
  EXPECT_EQ(message_of([&] { Safetensors{folder.path()}; }, base::Kind::not_found),
            front + ": no model.safetensors and no model.safetensors.index.json");
  base::write_file_durably(folder.path() / "pytorch_model.bin", "x");
  EXPECT_NE(message_of([&] { Safetensors{folder.path()}; }, base::Kind::not_found)
                .find("pytorch_model.bin is not read"),
            std::string::npos);
  base::write_file_durably(folder.path() / "model.safetensors.index.json",
                           R"({"weight_map":{"a":"1.safetensors"}})");
  EXPECT_EQ(message_of([&] { Safetensors{folder.path()}; }, base::Kind::not_found),
            front + "/1.safetensors: No such file or directory");
}

}  // namespace
}  // namespace textmill::nn
