#include "models/gpt_neox.h"

#include <fmt/format.h>

#include "models/config.h"

namespace textmill::models {

using nn::NormKind, nn::Recorder, nn::Tensor;

GptNeoxConfig gpt_neox_config(const format::JsonView& json) {
  constexpr ModelType<bool> kTypes[] = {{"gpt_neox", true}};
  model_type<bool>(json, kTypes);
  GptNeoxConfig c;
  c.vocab = size(json, "vocab_size", 50432);
  c.hidden = size(json, "hidden_size", 6144);
  c.heads = size(json, "num_attention_heads", 64);
  if (c.hidden % c.heads) json.fail(fmt::format("a hidden size that {} heads divide", c.heads));
  c.head_dim = c.hidden / c.heads;
  c.mlp = size(json, "intermediate_size", 24576);
  c.layers = layers(json, "num_hidden_layers", 44);
  c.norm_eps = epsilon(json, "layer_norm_eps", 1e-5);
  c.dropout = probability(json, "hidden_dropout", 0);
  c.attention_dropout = probability(json, "attention_dropout", 0);
  c.activation = activation(json, "hidden_act", "gelu");
  c.rotary = rotary(json, c.head_dim, 0.25);
  c.attention_bias = json.get_boolean("attention_bias", true);
  c.parallel = json.get_boolean("use_parallel_residual", true);
  c.tied = json.get_boolean("tie_word_embeddings", false);
  return c;
}

GptNeoxLayer::GptNeoxLayer(const GptNeoxConfig& c)
    : attention_norm(NormKind::layer, c.hidden, c.norm_eps),
      mlp_norm(NormKind::layer, c.hidden, c.norm_eps),
      query(c.hidden, c.hidden, c.attention_bias),
      key(c.hidden, c.hidden, c.attention_bias),
      value(c.hidden, c.hidden, c.attention_bias),
      attention_output(c.hidden, c.hidden, c.attention_bias),
      up(c.hidden, c.mlp),
      down(c.mlp, c.hidden) {
  int index = 0;
  for (nn::Linear* part : {&query, &key, &value}) {
    part->weight.share = part->bias.share = {.index = index++, .count = 3, .block = c.head_dim};
  }
}

void GptNeoxLayer::fields(const nn::Fields& f) {
  f("input_layernorm", attention_norm);
  for (nn::Linear* part : {&query, &key, &value}) f("attention.query_key_value", *part);
  f("attention.dense", attention_output);
  f("post_attention_layernorm", mlp_norm);
  f("mlp.dense_h_to_4h", up);
  f("mlp.dense_4h_to_h", down);
}

GptNeox::GptNeox(const GptNeoxConfig& config)
    : config(config),
      words(config.vocab, config.hidden),
      norm(NormKind::layer, config.hidden, config.norm_eps),
      head(config.tied ? nn::Linear() : nn::Linear(config.hidden, config.vocab, false)) {
  layers.reserve(config.layers);
  for (int i = 0; i < config.layers; i++) layers.emplace_back(config);
}

void GptNeox::fields(const nn::Fields& f) {
  f("gpt_neox.embed_in.weight", words);
  for (size_t i = 0; i < layers.size(); i++) f(fmt::format("gpt_neox.layers.{}", i), layers[i]);
  f("gpt_neox.final_layer_norm", norm);
  if (!config.tied) f("embed_out", head);
}

Tensor gpt_neox_layer(Recorder& r, GptNeoxLayer& w, const GptNeoxConfig& c, Tensor x, int slot) {
  Tensor n = r.norm(x, w.attention_norm);
  Tensor q = r.rotary(r.linear(n, w.query), c.rotary), k = r.rotary(r.linear(n, w.key), c.rotary);
  nn::Memory memory = r.remember(k, r.linear(n, w.value), slot);
  Tensor a = r.attend(q, memory, {.head_dim = c.head_dim, .causal = true, .dropout = c.attention_dropout});
  a = r.dropout(r.linear(a, w.attention_output), c.dropout);
  Tensor h = r.add(x, a);
  Tensor m =
      r.linear(r.activate(c.activation, r.linear(r.norm(c.parallel ? x : h, w.mlp_norm), w.up)), w.down);
  return r.add(h, r.dropout(m, c.dropout));
}

Tensor gpt_neox(Recorder& r, GptNeox& w, nn::Index ids) {
  Tensor x = r.dropout(r.embed({{w.words, ids}}), w.config.dropout);
  int slot = 0;
  for (GptNeoxLayer& layer : w.layers)
    x = r.layer([&] { return gpt_neox_layer(r, layer, w.config, x, slot++); });
  return r.norm(x, w.norm);
}

Tensor gpt_neox_logits(Recorder& r, GptNeox& w, Tensor x) {
  return w.config.tied ? r.linear(x, w.words) : r.linear(x, w.head);
}

}  // namespace textmill::models
