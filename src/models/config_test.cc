#include "models/config.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "models/bert.h"
#include "models/gpt_neox.h"
#include "models/llama.h"
#include "models/t5.h"

namespace textmill::models {
namespace {

template <class Read>
auto parse(const std::string& text, Read read) {
  format::Json json = format::parse_json(text, "config.json");
  return read(format::JsonView(json, "config.json"));
}

void expect_refused(const std::string& text, const std::string& why, auto read) {
  try {
    parse(text, read);
    ADD_FAILURE() << "not refused: " << text;
  } catch (const base::Error& error) {
    EXPECT_EQ(error.kind(), base::Kind::invalid);
    EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what();
  }
}

TEST(BertConfigTest, ReadsWhatAFamilyWrites) {
  BertConfig bert =
      parse(R"({"model_type": "bert", "hidden_size": 384, "num_attention_heads": 12, "layer_norm_eps": 1e-5,
                              "hidden_act": "gelu_new", "hidden_dropout_prob": 0.2, "classifier_dropout": null,
                              "id2label": {"0": "a", "1": "b", "2": "c"}})",
            bert_config);
  EXPECT_EQ(bert.hidden, 384);
  EXPECT_EQ(bert.layers, 12);
  EXPECT_EQ(bert.types, 2);
  EXPECT_EQ(bert.labels, 3);
  EXPECT_EQ(bert.activation, nn::Activation::gelu_tanh);
  EXPECT_EQ(bert.norm_eps, 1e-5);
  EXPECT_EQ(bert.head_dropout, 0.2);
  EXPECT_EQ(bert.max_length(), 512);

  BertConfig distilbert = parse(R"({"model_type": "distilbert", "dim": 96, "n_heads": 6})", bert_config);
  EXPECT_EQ(distilbert.hidden, 96);
  EXPECT_EQ(distilbert.types, 0);
  EXPECT_EQ(distilbert.head_dropout, 0.2);

  BertConfig roberta =
      parse(R"({"model_type": "xlm-roberta", "max_position_embeddings": 514, "type_vocab_size": 1,
                                 "num_labels": 5})",
            bert_config);
  EXPECT_EQ(roberta.family, BertConfig::Family::roberta);
  EXPECT_EQ(roberta.first_position, 2);
  EXPECT_EQ(roberta.max_length(), 512);
  EXPECT_EQ(roberta.labels, 5);
}

TEST(BertConfigTest, RefusesWhatIsNotBuilt) {
  expect_refused("{}", "config.json: no model_type; expected one of bert, distilbert, roberta", bert_config);
  expect_refused(R"({"model_type": "gpt2"})", "config.json: model_type: expected one of bert", bert_config);
  expect_refused(R"({"model_type": "bert", "position_embedding_type": "relative_key"})",
                 "position_embedding_type: expected \"absolute\"", bert_config);
  expect_refused(R"({"model_type": "bert", "is_decoder": true})", "is_decoder: expected false", bert_config);
  expect_refused(R"({"model_type": "bert", "hidden_act": "selu"})", "hidden_act: expected one of gelu",
                 bert_config);
  expect_refused(R"({"model_type": "bert", "hidden_size": 100, "num_attention_heads": 12})", "12 heads",
                 bert_config);
  expect_refused(R"({"model_type": "bert", "num_hidden_layers": -1})", "num_hidden_layers", bert_config);
  expect_refused(R"({"model_type": "bert", "hidden_dropout_prob": 1})", "hidden_dropout_prob", bert_config);
  expect_refused(R"({"model_type": "bert", "vocab_size": "many"})", "vocab_size", bert_config);
  expect_refused(R"({"model_type": "bert", "id2label": {}})", "id2label: expected at least one", bert_config);
}

TEST(DecoderConfigs, ReadRotaryOldAndNew) {
  LlamaConfig now = parse(R"({"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4,
                              "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}})",
                          llama_config);
  LlamaConfig before = parse(
      R"({"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "rope_theta": 500, "rope_scaling": null})",
      llama_config);
  EXPECT_EQ(now.head_dim, 16);
  EXPECT_EQ(now.kv_heads, 4);
  EXPECT_EQ(now.rotary.frequencies, nn::rotary_frequencies(16, 500));
  EXPECT_EQ(before.rotary.frequencies, now.rotary.frequencies);
  GptNeoxConfig neox = parse(
      R"({"model_type": "gpt_neox", "hidden_size": 64, "num_attention_heads": 4, "rotary_pct": 0.5, "rotary_emb_base": 100})",
      gpt_neox_config);
  EXPECT_EQ(neox.rotary.frequencies, nn::rotary_frequencies(8, 100));
}

TEST(DecoderConfigs, RefuseWhatIsNotBuilt) {
  expect_refused(R"({"model_type": "llama", "rope_parameters": {"rope_type": "yarn"}})",
                 "rope_type: expected \"default\"", llama_config);
  expect_refused(R"({"model_type": "llama", "rope_scaling": {"type": "linear", "factor": 2}})",
                 "rope_scaling.type: expected \"default\"", llama_config);
  expect_refused(R"({"model_type": "t5", "feed_forward_proj": "gated-silu"})", "feed_forward_proj",
                 t5_config);
  expect_refused(R"({"model_type": "gpt_neox", "hidden_size": 10, "num_attention_heads": 3})", "3 heads",
                 gpt_neox_config);
}

TEST(EveryConfig, RefusesAnEpsilonThatDividesByNothing) {
  auto refused = [&](const std::string& type, const std::string& member, auto read) {
    auto text = [&](const char* value) {
      return fmt::format(R"({{"model_type": "{}", "{}": {}}})", type, member, value);
    };
    for (const char* value : {"-1", "0", "1e-60", "1e60", "\"1e-5\"", "true"})
      expect_refused(text(value), "config.json: " + member + ": expected a number", read);
    expect_refused(text("NaN"), "config.json:1:", read);
  };
  refused("bert", "layer_norm_eps", bert_config);
  refused("xlm-roberta", "layer_norm_eps", bert_config);
  refused("gpt_neox", "layer_norm_eps", gpt_neox_config);
  refused("llama", "rms_norm_eps", llama_config);
  refused("t5", "layer_norm_epsilon", t5_config);
}

TEST(T5ConfigTest, ScalesLogitsWhereWordsAreTied) {
  EXPECT_TRUE(parse(R"({"model_type": "t5"})", t5_config).scale_logits);
  EXPECT_FALSE(parse(R"({"model_type": "t5", "tie_word_embeddings": false})", t5_config).scale_logits);
  EXPECT_FALSE(
      parse(R"({"model_type": "t5", "tie_word_embeddings": true, "scale_decoder_outputs": false})", t5_config)
          .scale_logits);
}

}  // namespace
}  // namespace textmill::models
