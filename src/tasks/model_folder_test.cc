#include "tasks/model_folder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>

#include "base/error.h"
#include "format/archive.h"
#include "tasks/testing.h"

namespace textmill::tasks {
namespace {

using testing::write_tiny_model;

struct ModelFolderTest : ::testing::Test {
  base::TemporaryFolder folder;
  const base::Path& path = folder.path();

  std::string refusal(const std::function<void()>& action) {
    try {
      action();
    } catch (const base::Error& error) {
      EXPECT_EQ(error.kind(), base::Kind::invalid);
      std::string what = error.what();
      size_t at = what.find(path.string());
      return at == std::string::npos ? what : what.replace(at, path.string().size(), "M");
    }
    return "";
  }
};

TEST_F(ModelFolderTest, opens_a_classifier) {
  write_tiny_model(path, {.labels = {"bad", "good", "so-so"}});
  ModelFolder model(path);
  EXPECT_TRUE(model.has_head());
  EXPECT_EQ(model.score_function(), ScoreFunction::softmax);
  EXPECT_EQ(model.labels(), (std::vector<std::string>{"bad", "good", "so-so"}));
  auto weights = model.load();
  EXPECT_EQ(weights->head.out.weight.rows, 3);
  EXPECT_TRUE(weights->body.words.has_values());
}

TEST_F(ModelFolderTest, an_archive_is_the_folder_in_it) {
  base::TemporaryFolder other;
  write_tiny_model(path);
  format::create_archive(path, other.path() / "model.tar.gz");
  ModelFolder model(other.path() / "model.tar.gz");
  EXPECT_EQ(model.labels().size(), 2u);
  EXPECT_TRUE(model.load()->head.out.weight.has_values());
  EXPECT_TRUE(model.find_tokenizer());
}

TEST_F(ModelFolderTest, says_what_is_missing) {
  EXPECT_EQ(refusal([&] { ModelFolder{path}; }), "M: holds no config.json, so it is no model folder");
  base::write_file_durably(path / "config.json", R"({"model_type": "bart"})");
  EXPECT_NE(refusal([&] { ModelFolder{path}; }).find("M/config.json: model_type: expected one of bert"),
            std::string::npos);
  base::write_file_durably(path / "config.json", testing::tiny_config({}));
  EXPECT_EQ(refusal([&] { ModelFolder{path}; }), "M: holds no model.safetensors");
  base::write_file_durably(path / "pytorch_model.bin", "");
  EXPECT_NE(refusal([&] { ModelFolder{path}; }).find("pytorch_model.bin is not read"), std::string::npos);
  EXPECT_THROW(ModelFolder(path / "none"), base::Error);
}

TEST_F(ModelFolderTest, names_a_missing_tensor_and_a_wrong_shape) {
  write_tiny_model(path, {.leave_out = "bert.encoder.layer.1.output.dense.bias"});
  EXPECT_EQ(refusal([&] { ModelFolder(path).load(); }),
            "M: no tensor bert.encoder.layer.1.output.dense.bias");
  write_tiny_model(path);
  base::write_file_durably(path / "config.json", testing::tiny_config({.labels = {"a", "b", "c"}}));
  EXPECT_EQ(refusal([&] { ModelFolder(path).load(); }),
            "M: classifier.weight has the shape [2, 32], expected [3, 32]");
}

TEST_F(ModelFolderTest, labels_must_have_the_ids_from_zero) {
  write_tiny_model(path, {.extra = R"("x": 1, )"});
  std::string config = testing::tiny_config({});
  base::write_file_durably(path / "config.json", config.replace(config.find("\"1\":"), 4, "\"7\":"));
  EXPECT_NE(refusal([&] { ModelFolder{path}; }).find("M/config.json: id2label.7: expected ids from 0 to 1"),
            std::string::npos);
}

TEST_F(ModelFolderTest, labels_must_differ) {
  write_tiny_model(path, {.labels = {"good", "bad", "good"}});
  EXPECT_NE(refusal([&] {
              ModelFolder{path};
            }).find("M/config.json: id2label: expected a name for each label; two are 'good'"),
            std::string::npos);
}

TEST_F(ModelFolderTest, a_bare_encoder_gets_a_fresh_head_from_the_seed) {
  write_tiny_model(path, {.head = false});
  ModelFolder model(path);
  EXPECT_FALSE(model.has_head());
  EXPECT_EQ(refusal([&] { model.load(); }),
            "M: a bare encoder, without a classification head; train it first");
  auto architecture = model.architecture();
  architecture.labels = 5;
  auto a = model.load_with_fresh_head(architecture, 1), b = model.load_with_fresh_head(architecture, 1),
       c = model.load_with_fresh_head(architecture, 2);
  auto values = [](nn::Weight& w) { return std::vector<float>(w.own().begin(), w.own().end()); };
  EXPECT_EQ(values(a->head.out.weight), values(b->head.out.weight));
  EXPECT_NE(values(a->head.out.weight), values(c->head.out.weight));
  EXPECT_EQ(values(a->body.words), values(c->body.words));
  EXPECT_EQ(values(a->head.out.bias), std::vector<float>(5));
  double squares = 0;
  for (float x : values(a->head.dense.weight)) squares += x * x;
  EXPECT_NEAR(std::sqrt(squares / (32 * 32)), 0.0176, 0.001)
      << "the pooler, too, is drawn, cut at two deviations";
  EXPECT_NE(values(a->head.dense.weight)[0], values(a->head.out.weight)[0]);
}

TEST_F(ModelFolderTest, what_is_written_opens_with_the_same_weights) {
  for (const char* type : {"bert", "distilbert", "roberta"}) {
    base::TemporaryFolder other;
    write_tiny_model(path, {.model_type = type, .extra = R"("torch_dtype": "float16", )"});
    ModelFolder model(path);
    auto weights = model.load();
    write_model_folder(other.path(), model, *weights, {"+", "-"}, 17, {});
    ModelFolder again(other.path());
    EXPECT_EQ(again.labels(), (std::vector<std::string>{"+", "-"}));
    EXPECT_EQ(again.max_length({}, nullptr).tokens, 17);
    EXPECT_EQ(base::read_file(other.path() / "vocab.txt"), base::read_file(path / "vocab.txt"));
    EXPECT_EQ(*again.config().find("torch_dtype")->string(), "float32");
    EXPECT_NE(again.config().find("architectures"), nullptr);
    auto reread = again.load();
    auto one = nn::fields(*weights), other_one = nn::fields(*reread);
    ASSERT_EQ(one.size(), other_one.size());
    for (size_t i = 0; i < one.size(); i++)
      EXPECT_TRUE(std::ranges::equal(one[i]->own(), other_one[i]->own()));
  }
}

TEST_F(ModelFolderTest, files_of_tokenizers_that_are_not_built_are_copied_unchanged) {
  write_tiny_model(path, {.model_type = "roberta"});
  const std::vector<std::string> names{"vocab.json", "merges.txt", "tokenizer.json",
                                       "special_tokens_map.json", "sentencepiece.bpe.model"};
  for (const auto& name : names) base::write_file_durably(path / name, name + std::string("\0\xff\n", 3));
  ModelFolder model(path);
  auto weights = model.load();
  base::TemporaryFolder other;
  write_model_folder(other.path(), model, *weights, model.labels(), 17, {});
  for (const auto& name : names)
    EXPECT_EQ(base::read_file(other.path() / name), base::read_file(path / name)) << name;
}

TEST_F(ModelFolderTest, a_tokenizer_that_is_not_built_is_not_taken_for_another) {
  write_tiny_model(path, {.model_type = "roberta"});  // and a vocab.txt
  std::string said = refusal([&] { ModelFolder(path).tokenizer(); });
  EXPECT_TRUE(said.starts_with("M: the tokenizer of this model type is not built; give input_ids: ")) << said;
  EXPECT_EQ(refusal([&] { load_tokenizer(path); }), said);
  base::write_file_durably(path / "config.json", R"({"model_type": "electra"})");
  EXPECT_EQ(load_tokenizer(path).encode("good").size(), 3u) << "of models that are not built, theirs may be";
  std::filesystem::remove(path / "config.json");
  EXPECT_EQ(load_tokenizer(path).encode("good").size(), 3u);
}

TEST_F(ModelFolderTest, the_maximum_length_is_the_first_that_is_said) {
  write_tiny_model(path);
  auto length = [&](std::optional<int> flag = {}) {
    ModelFolder model(path);
    text::Tokenizer tokenizer = model.tokenizer();
    auto [tokens, source] = model.max_length(flag, &tokenizer);
    return fmt::format("{} {}", tokens, source);
  };
  EXPECT_EQ(length(), "24 config.json");
  base::write_file_durably(path / "tokenizer_config.json",
                           R"({"do_lower_case": true, "model_max_length": 20})");
  EXPECT_EQ(length(), "20 tokenizer");
  base::write_file_durably(path / "sentence_bert_config.json", R"({"max_seq_length": 9})");
  EXPECT_EQ(length(), "9 sentence_bert_config.json");
  EXPECT_EQ(length(11), "11 max-length");
  base::write_file_durably(path / "sentence_bert_config.json", R"({"max_seq_length": 900})");
  EXPECT_EQ(length(), "24 sentence_bert_config.json");
  EXPECT_EQ(refusal([&] { length(25); }), "max-length 25: M has only 24 positions");
}

}  // namespace
}  // namespace textmill::tasks
