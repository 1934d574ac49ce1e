#include "models/llama.h"

#include <fmt/format.h>

#include "models/config.h"

namespace textmill::models {

using nn::Memory, nn::NormKind, nn::Recorder, nn::Tensor;

LlamaConfig llama_config(const format::JsonView& json) {
  constexpr ModelType<bool> kTypes[] = {{"llama", true}};
  model_type<bool>(json, kTypes);
  LlamaConfig c;
  c.vocab = size(json, "vocab_size", 32000);
  c.hidden = size(json, "hidden_size", 4096);
  c.heads = size(json, "num_attention_heads", 32);
  c.kv_heads = size(json, "num_key_value_heads", c.heads);
  c.head_dim = size(json, "head_dim", std::max(c.hidden / c.heads, 1));
  c.mlp = size(json, "intermediate_size", 11008);
  c.layers = layers(json, "num_hidden_layers", 32);
  c.norm_eps = epsilon(json, "rms_norm_eps", 1e-6);
  c.activation = activation(json, "hidden_act", "silu");
  c.rotary = rotary(json, c.head_dim);
  c.attention_bias = json.get_boolean("attention_bias", false);
  c.mlp_bias = json.get_boolean("mlp_bias", false);
  c.tied = json.get_boolean("tie_word_embeddings", false);
  return c;
}

GatedMlp::GatedMlp(int hidden, int mlp, bool bias)
    : gate(hidden, mlp, bias), up(hidden, mlp, bias), down(mlp, hidden, bias) {}

void GatedMlp::fields(const nn::Fields& f) {
  f("gate_proj", gate);
  f("up_proj", up);
  f("down_proj", down);
}

LlamaLayer::LlamaLayer(const LlamaConfig& c)
    : attention_norm(NormKind::rms, c.hidden, c.norm_eps),
      mlp_norm(NormKind::rms, c.hidden, c.norm_eps),
      query(c.hidden, c.heads * c.head_dim, c.attention_bias),
      key(c.hidden, c.kv_heads * c.head_dim, c.attention_bias),
      value(c.hidden, c.kv_heads * c.head_dim, c.attention_bias),
      attention_output(c.heads * c.head_dim, c.hidden, c.attention_bias),
      mlp(c.hidden, c.mlp, c.mlp_bias) {}

void LlamaLayer::fields(const nn::Fields& f) {
  f("input_layernorm", attention_norm);
  f("self_attn.q_proj", query);
  f("self_attn.k_proj", key);
  f("self_attn.v_proj", value);
  f("self_attn.o_proj", attention_output);
  f("post_attention_layernorm", mlp_norm);
  f("mlp", mlp);
}

Llama::Llama(const LlamaConfig& config)
    : config(config),
      words(config.vocab, config.hidden),
      norm(NormKind::rms, config.hidden, config.norm_eps),
      head(config.tied ? nn::Linear() : nn::Linear(config.hidden, config.vocab, false)) {
  layers.reserve(config.layers);
  for (int i = 0; i < config.layers; i++) layers.emplace_back(config);
}

void Llama::fields(const nn::Fields& f) {
  f("model.embed_tokens.weight", words);
  for (size_t i = 0; i < layers.size(); i++) f(fmt::format("model.layers.{}", i), layers[i]);
  f("model.norm", norm);
  if (!config.tied) f("lm_head", head);
}

Tensor gated_mlp(Recorder& r, GatedMlp& w, nn::Activation activation, Tensor x) {
  return r.linear(r.activate(activation, r.linear(x, w.gate), r.linear(x, w.up)), w.down);
}

Tensor llama_layer(Recorder& r, LlamaLayer& w, const LlamaConfig& c, Tensor x, int slot) {
  Tensor n = r.norm(x, w.attention_norm);
  Tensor q = r.rotary(r.linear(n, w.query), c.rotary), k = r.rotary(r.linear(n, w.key), c.rotary);
  Memory memory = r.remember(k, r.linear(n, w.value), slot);
  Tensor a = r.attend(q, memory, {.head_dim = c.head_dim, .causal = true});
  Tensor h = r.add(x, r.linear(a, w.attention_output));
  return r.add(h, gated_mlp(r, w.mlp, c.activation, r.norm(h, w.mlp_norm)));
}

Tensor llama(Recorder& r, Llama& w, nn::Index ids) {
  Tensor x = r.embed({{w.words, ids}});
  int slot = 0;
  for (LlamaLayer& layer : w.layers) x = r.layer([&] { return llama_layer(r, layer, w.config, x, slot++); });
  return r.norm(x, w.norm);
}

Tensor llama_logits(Recorder& r, Llama& w, Tensor x) {
  return w.config.tied ? r.linear(x, w.words) : r.linear(x, w.head);
}

}  // namespace textmill::models
