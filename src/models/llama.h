#pragma once

#include <vector>

#include "format/json.h"
#include "nn/record.h"
#include "nn/weights.h"

namespace textmill::models {

/// Llama (Touvron et al. 2023): a decoder with rotary positions, grouped keys and a gated MLP.
struct LlamaConfig {
  int vocab = 0, hidden = 0, heads = 0, kv_heads = 0, head_dim = 0, mlp = 0, layers = 0;
  double norm_eps = 1e-6;
  nn::Activation activation = nn::Activation::silu;
  nn::RotarySpec rotary;
  bool attention_bias = false, mlp_bias = false, tied = false;  // tied: logits by the word table
};
LlamaConfig llama_config(const format::JsonView& config);

struct GatedMlp {
  GatedMlp(int hidden, int mlp, bool bias);
  void fields(const nn::Fields& f);
  nn::Linear gate, up, down;
};
nn::Tensor gated_mlp(nn::Recorder& r, GatedMlp& w, nn::Activation activation, nn::Tensor x);

struct LlamaLayer {
  explicit LlamaLayer(const LlamaConfig& config);
  void fields(const nn::Fields& f);
  nn::Norm attention_norm, mlp_norm;
  nn::Linear query, key, value, attention_output;
  GatedMlp mlp;
};

struct Llama {
  explicit Llama(const LlamaConfig& config);
  void fields(const nn::Fields& f);
  LlamaConfig config;
  nn::Weight words;
  std::vector<LlamaLayer> layers;
  nn::Norm norm;
  nn::Linear head;
};

/// Layer `slot` of the cache, when there is one.
nn::Tensor llama_layer(nn::Recorder& r, LlamaLayer& w, const LlamaConfig& config, nn::Tensor x, int slot);
nn::Tensor llama(nn::Recorder& r, Llama& w, nn::Index ids);        // [tokens, hidden]
nn::Tensor llama_logits(nn::Recorder& r, Llama& w, nn::Tensor x);  // [rows of x, vocab]

}  // namespace textmill::models
