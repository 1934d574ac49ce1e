#include "models/t5.h"

#include <fmt/format.h>

#include <cmath>

#include "models/config.h"

namespace textmill::models {

using nn::Memory, nn::NormKind, nn::Recorder, nn::Tensor;

T5Config t5_config(const format::JsonView& json) {
  constexpr ModelType<bool> kTypes[] = {{"t5", true}};
  model_type<bool>(json, kTypes);
  T5Config c;
  c.vocab = size(json, "vocab_size", 32128);
  c.hidden = size(json, "d_model", 512);
  c.heads = size(json, "num_heads", 8);
  c.head_dim = size(json, "d_kv", 64);
  c.mlp = size(json, "d_ff", 2048);
  c.encoder_layers = layers(json, "num_layers", 6);
  c.decoder_layers = layers(json, "num_decoder_layers", c.encoder_layers);
  c.buckets = size(json, "relative_attention_num_buckets", 32);
  c.max_distance = size(json, "relative_attention_max_distance", 128);
  c.dropout = probability(json, "dropout_rate", 0.1);
  c.norm_eps = epsilon(json, "layer_norm_epsilon", 1e-6);
  std::string mlp = json.get_string("feed_forward_proj", "relu");
  if (mlp != "relu" && mlp != "gated-gelu") json.at("feed_forward_proj").fail("\"relu\" or \"gated-gelu\"");
  c.gated = mlp == "gated-gelu";
  c.activation = c.gated ? nn::Activation::gelu_tanh : nn::Activation::relu;
  c.scale_logits = json.get_boolean("scale_decoder_outputs", json.get_boolean("tie_word_embeddings", true));
  return c;
}

// ---- weights

T5Attention::T5Attention(const T5Config& c)
    : query(c.hidden, c.heads * c.head_dim, false),
      key(c.hidden, c.heads * c.head_dim, false),
      value(c.hidden, c.heads * c.head_dim, false),
      output(c.heads * c.head_dim, c.hidden, false) {}

void T5Attention::fields(const nn::Fields& f) {
  f("q", query);
  f("k", key);
  f("v", value);
  f("o", output);
}

T5Mlp::T5Mlp(const T5Config& c)
    : gate(c.gated ? nn::Linear(c.hidden, c.mlp, false) : nn::Linear()),
      up(c.hidden, c.mlp, false),
      down(c.mlp, c.hidden, false) {}

void T5Mlp::fields(const nn::Fields& f) {
  if (gate.weight) f("wi_0", gate);
  f(gate.weight ? "wi_1" : "wi", up);
  f("wo", down);
}

T5Layer::T5Layer(const T5Config& c, bool decoder)
    : self_norm(NormKind::rms, c.hidden, c.norm_eps),
      cross_norm(NormKind::rms, c.hidden, c.norm_eps),
      mlp_norm(NormKind::rms, c.hidden, c.norm_eps),
      self(c),
      mlp(c) {
  if (decoder) cross.emplace(c);
}

void T5Layer::fields(const nn::Fields& f) {
  f("layer.0.SelfAttention", self);
  f("layer.0.layer_norm", self_norm);
  if (cross) {
    f("layer.1.EncDecAttention", *cross);
    f("layer.1.layer_norm", cross_norm);
  }
  nn::Fields last = f.at(cross ? "layer.2" : "layer.1");
  last("DenseReluDense", mlp);
  last("layer_norm", mlp_norm);
}

T5Stack::T5Stack(const T5Config& c, bool decoder)
    : bias(c.buckets, c.heads), norm(NormKind::rms, c.hidden, c.norm_eps) {
  int count = decoder ? c.decoder_layers : c.encoder_layers;
  layers.reserve(count);
  for (int i = 0; i < count; i++) layers.emplace_back(c, decoder);
}

void T5Stack::fields(const nn::Fields& f) {
  f("block.0.layer.0.SelfAttention.relative_attention_bias.weight", bias);
  for (size_t i = 0; i < layers.size(); i++) f(fmt::format("block.{}", i), layers[i]);
  f("final_layer_norm", norm);
}

void T5::fields(const nn::Fields& f) {
  f("shared.weight", words);
  f("encoder", encoder);
  f("decoder", decoder);
}

// ---- recordings

namespace {

// Slots of the cache: the decoder's own rows, and what it reads of the encoder.
int self_slot(size_t layer) { return static_cast<int>(2 * layer); }
int cross_slot(size_t layer) { return static_cast<int>(2 * layer + 1); }

Tensor attention(Recorder& r, T5Attention& w, const T5Config& c, Tensor query_rows, const Memory& memory,
                 const nn::AttendSpec& spec) {
  Tensor a = r.attend(r.linear(query_rows, w.query), memory, spec);
  return r.dropout(r.linear(a, w.output), c.dropout);
}

Tensor self_attention(Recorder& r, T5Layer& w, const T5Config& c, Tensor x, nn::Weight& bias, int slot) {
  Tensor n = r.norm(x, w.self_norm), k = r.linear(n, w.self.key), v = r.linear(n, w.self.value);
  bool decoder = w.cross.has_value();
  Memory memory = decoder ? r.remember(k, v, slot) : Memory{.key = k, .value = v};
  return r.add(x, attention(r, w.self, c, n, memory,
                            {.head_dim = c.head_dim,
                             .scale = 1,
                             .causal = decoder,
                             .bias = &bias,
                             .max_distance = c.max_distance,
                             .bidirectional = !decoder,
                             .dropout = c.dropout}));
}

Tensor cross_attention(Recorder& r, T5Layer& w, const T5Config& c, Tensor x, const Memory& encoded) {
  Tensor n = r.norm(x, w.cross_norm);
  return r.add(
      x, attention(r, *w.cross, c, n, encoded, {.head_dim = c.head_dim, .scale = 1, .dropout = c.dropout}));
}

Tensor mlp(Recorder& r, T5Layer& w, const T5Config& c, Tensor x) {
  Tensor n = r.norm(x, w.mlp_norm);
  Tensor h = c.gated ? r.activate(c.activation, r.linear(n, w.mlp.gate), r.linear(n, w.mlp.up))
                     : r.activate(c.activation, r.linear(n, w.mlp.up));
  return r.add(x, r.dropout(r.linear(r.dropout(h, c.dropout), w.mlp.down), c.dropout));
}

}  // namespace

Tensor t5_encode(Recorder& r, T5& w, nn::Index ids) {
  const T5Config& c = w.config;
  Tensor x = r.dropout(r.embed({{w.words, ids}}), c.dropout);
  for (T5Layer& layer : w.encoder.layers) {
    x = r.layer([&] { return mlp(r, layer, c, self_attention(r, layer, c, x, w.encoder.bias, -1)); });
  }
  return r.dropout(r.norm(x, w.encoder.norm), c.dropout);
}

std::vector<Memory> t5_remember(Recorder& r, T5& w, Tensor encoded) {
  std::vector<Memory> memories;
  for (size_t i = 0; i < w.decoder.layers.size(); i++) {
    T5Attention& cross = *w.decoder.layers[i].cross;
    memories.push_back(
        r.remember(r.linear(encoded, cross.key), r.linear(encoded, cross.value), cross_slot(i)));
  }
  return memories;
}

std::vector<Memory> t5_recall(Recorder& r, const T5& w) {
  std::vector<Memory> memories;
  for (size_t i = 0; i < w.decoder.layers.size(); i++) {
    memories.push_back(r.recall(cross_slot(i), w.config.heads * w.config.head_dim));
  }
  return memories;
}

Tensor t5_decode(Recorder& r, T5& w, nn::Index ids, const std::vector<Memory>& encoded) {
  const T5Config& c = w.config;
  Tensor x = r.dropout(r.embed({{w.words, ids}}), c.dropout);
  for (size_t i = 0; i < w.decoder.layers.size(); i++) {
    T5Layer& layer = w.decoder.layers[i];
    x = r.layer([&] {
      Tensor h = self_attention(r, layer, c, x, w.decoder.bias, self_slot(i));
      return mlp(r, layer, c, cross_attention(r, layer, c, h, encoded[i]));
    });
  }
  return r.dropout(r.norm(x, w.decoder.norm), c.dropout);
}

Tensor t5_logits(Recorder& r, T5& w, Tensor x) {
  if (w.config.scale_logits) x = r.scale(x, 1 / std::sqrt(static_cast<double>(w.config.hidden)));
  return r.linear(x, w.words);
}

}  // namespace textmill::models
