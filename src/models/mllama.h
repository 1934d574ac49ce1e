#pragma once

#include "models/llama.h"

namespace textmill::models {

/// The layer of Llama 3.2's vision models in which text rows look at image rows, through gates that open in
/// training.
struct MllamaCrossLayer {
  explicit MllamaCrossLayer(const LlamaConfig& config);
  void fields(const nn::Fields& f);
  nn::Norm attention_norm, mlp_norm, query_norm, key_norm;  // the last two per head
  nn::Linear query, key, value, attention_output;
  GatedMlp mlp;
  nn::Weight attention_gate, mlp_gate;
};

/// Which image rows a text row sees: [from, to) of its sequence's; `sees` is 0 for a row that sees none, and
/// then the row attends to all of them and its MLP is left out, as transformers has it.
struct ImageRange {
  nn::Index from, to, sees;
};

nn::Memory mllama_memory(nn::Recorder& r, MllamaCrossLayer& w, nn::Tensor image, int slot);
nn::Tensor mllama_cross_layer(nn::Recorder& r, MllamaCrossLayer& w, const LlamaConfig& config, nn::Tensor x,
                              const nn::Memory& image, const ImageRange& range);

}  // namespace textmill::models
