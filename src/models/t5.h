#pragma once

#include <optional>
#include <vector>

#include "format/json.h"
#include "nn/record.h"
#include "nn/weights.h"

namespace textmill::models {

/// T5 (Raffel et al. 2020) and T5 1.1: encoder and decoder with relative positions that all layers share.
/// Logits are taken by the word table.
struct T5Config {
  int vocab = 0, hidden = 0, heads = 0, head_dim = 0, mlp = 0, encoder_layers = 0, decoder_layers = 0;
  int buckets = 32, max_distance = 128;  // of relative positions
  double dropout = 0.1, norm_eps = 1e-6;
  nn::Activation activation = nn::Activation::relu;
  bool gated = false, scale_logits = true;
};
T5Config t5_config(const format::JsonView& config);

struct T5Attention {
  explicit T5Attention(const T5Config& config);
  void fields(const nn::Fields& f);
  nn::Linear query, key, value, output;
};

struct T5Mlp {
  explicit T5Mlp(const T5Config& config);
  void fields(const nn::Fields& f);
  nn::Linear gate, up, down;  // gate is absent where the MLP has none
};

struct T5Layer {
  T5Layer(const T5Config& config, bool decoder);
  void fields(const nn::Fields& f);
  nn::Norm self_norm, cross_norm, mlp_norm;
  T5Attention self;
  std::optional<T5Attention> cross;
  T5Mlp mlp;
};

struct T5Stack {
  T5Stack(const T5Config& config, bool decoder);
  void fields(const nn::Fields& f);
  nn::Weight bias;  // relative positions [buckets, heads]
  std::vector<T5Layer> layers;
  nn::Norm norm;
};

struct T5 {
  explicit T5(const T5Config& config)
      : config(config), words(config.vocab, config.hidden), encoder(config, false), decoder(config, true) {}
  void fields(const nn::Fields& f);
  T5Config config;
  nn::Weight words;
  T5Stack encoder, decoder;
};

nn::Tensor t5_encode(nn::Recorder& r, T5& w, nn::Index ids);  // [tokens, hidden]
/// What each decoder layer reads of the encoder: recorded with the encoder; a decoder recorded apart recalls
/// it.
std::vector<nn::Memory> t5_remember(nn::Recorder& r, T5& w, nn::Tensor encoded);
std::vector<nn::Memory> t5_recall(nn::Recorder& r, const T5& w);
nn::Tensor t5_decode(nn::Recorder& r, T5& w, nn::Index ids, const std::vector<nn::Memory>& encoded);
nn::Tensor t5_logits(nn::Recorder& r, T5& w, nn::Tensor x);  // [rows of x, vocab]

}  // namespace textmill::models
