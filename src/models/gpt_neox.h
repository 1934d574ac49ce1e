#pragma once

#include <vector>

#include "format/json.h"
#include "nn/record.h"
#include "nn/weights.h"

namespace textmill::models {

/// GPT-NeoX (Black et al. 2022): attention and MLP read the same row and are added side by side.
struct GptNeoxConfig {
  int vocab = 0, hidden = 0, heads = 0, head_dim = 0, mlp = 0, layers = 0;
  double norm_eps = 1e-5, dropout = 0, attention_dropout = 0;
  nn::Activation activation = nn::Activation::gelu;
  nn::RotarySpec rotary;
  bool attention_bias = true, parallel = true, tied = false;
};
GptNeoxConfig gpt_neox_config(const format::JsonView& config);

struct GptNeoxLayer {
  explicit GptNeoxLayer(const GptNeoxConfig& config);
  void fields(const nn::Fields& f);
  nn::Norm attention_norm, mlp_norm;
  nn::Linear query, key, value, attention_output, up, down;
};

struct GptNeox {
  explicit GptNeox(const GptNeoxConfig& config);
  void fields(const nn::Fields& f);
  GptNeoxConfig config;
  nn::Weight words;
  std::vector<GptNeoxLayer> layers;
  nn::Norm norm;
  nn::Linear head;
};

nn::Tensor gpt_neox_layer(nn::Recorder& r, GptNeoxLayer& w, const GptNeoxConfig& config, nn::Tensor x,
                          int slot);
nn::Tensor gpt_neox(nn::Recorder& r, GptNeox& w, nn::Index ids);        // [tokens, hidden]
nn::Tensor gpt_neox_logits(nn::Recorder& r, GptNeox& w, nn::Tensor x);  // [rows of x, vocab]

}  // namespace textmill::models
