#include "models/mllama.h"

namespace textmill::models {

using nn::NormKind, nn::Recorder, nn::Tensor;

MllamaCrossLayer::MllamaCrossLayer(const LlamaConfig& c)
    : attention_norm(NormKind::rms, c.hidden, c.norm_eps),
      mlp_norm(NormKind::rms, c.hidden, c.norm_eps),
      query_norm(NormKind::rms, c.head_dim, c.norm_eps),
      key_norm(NormKind::rms, c.head_dim, c.norm_eps),
      query(c.hidden, c.heads * c.head_dim, false),
      key(c.hidden, c.kv_heads * c.head_dim, false),
      value(c.hidden, c.kv_heads * c.head_dim, false),
      attention_output(c.heads * c.head_dim, c.hidden, false),
      mlp(c.hidden, c.mlp, false),
      attention_gate(nn::Weight::vector(1)),
      mlp_gate(nn::Weight::vector(1)) {}

void MllamaCrossLayer::fields(const nn::Fields& f) {
  f("input_layernorm", attention_norm);
  f("cross_attn.q_proj", query);
  f("cross_attn.k_proj", key);
  f("cross_attn.v_proj", value);
  f("cross_attn.o_proj", attention_output);
  f("cross_attn.q_norm", query_norm);
  f("cross_attn.k_norm", key_norm);
  f("cross_attn_attn_gate", attention_gate);
  f("post_attention_layernorm", mlp_norm);
  f("mlp", mlp);
  f("cross_attn_mlp_gate", mlp_gate);
}

nn::Memory mllama_memory(Recorder& r, MllamaCrossLayer& w, Tensor image, int slot) {
  return r.remember(r.norm(r.linear(image, w.key), w.key_norm), r.linear(image, w.value), slot);
}

Tensor mllama_cross_layer(Recorder& r, MllamaCrossLayer& w, const LlamaConfig& c, Tensor x,
                          const nn::Memory& image, const ImageRange& range) {
  Tensor q = r.norm(r.linear(r.norm(x, w.attention_norm), w.query), w.query_norm);
  Tensor a = r.attend(q, image,
                      {.head_dim = c.head_dim, .from = range.from, .to = range.to, .blind_sees_all = true});
  Tensor h = r.add(x, r.linear(a, w.attention_output), w.attention_gate);
  Tensor m = gated_mlp(r, w.mlp, c.activation, r.norm(h, w.mlp_norm));
  return r.add(h, m, w.mlp_gate, range.sees);
}

}  // namespace textmill::models
