#include "models/bert.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "models/config.h"

namespace textmill::models {

using nn::Activation, nn::Index, nn::Recorder, nn::Space, nn::Split, nn::Tensor;
using Family = BertConfig::Family;

namespace {

/// How a family's checkpoints call their tensors.
struct Names {
  const char *body, *layer, *query, *key, *value, *attention_output, *attention_norm, *up, *down,
      *output_norm;
  const char *head_dense, *head_out;
};

const Names& names(Family family) {
  static constexpr Names kBert = {.body = "bert",
                                  .layer = "encoder.layer",
                                  .query = "attention.self.query",
                                  .key = "attention.self.key",
                                  .value = "attention.self.value",
                                  .attention_output = "attention.output.dense",
                                  .attention_norm = "attention.output.LayerNorm",
                                  .up = "intermediate.dense",
                                  .down = "output.dense",
                                  .output_norm = "output.LayerNorm",
                                  .head_dense = "bert.pooler.dense",
                                  .head_out = "classifier"};
  static constexpr Names kDistilBert = {.body = "distilbert",
                                        .layer = "transformer.layer",
                                        .query = "attention.q_lin",
                                        .key = "attention.k_lin",
                                        .value = "attention.v_lin",
                                        .attention_output = "attention.out_lin",
                                        .attention_norm = "sa_layer_norm",
                                        .up = "ffn.lin1",
                                        .down = "ffn.lin2",
                                        .output_norm = "output_layer_norm",
                                        .head_dense = "pre_classifier",
                                        .head_out = "classifier"};
  static constexpr Names kRoberta = [] {
    Names names = kBert;
    names.body = "roberta";
    names.head_dense = "classifier.dense";
    names.head_out = "classifier.out_proj";
    return names;
  }();
  switch (family) {
    case Family::distilbert: return kDistilBert;
    case Family::roberta: return kRoberta;
    default: return kBert;
  }
}

constexpr ModelType<Family> kModelTypes[] = {{"bert", Family::bert},
                                             {"distilbert", Family::distilbert},
                                             {"roberta", Family::roberta},
                                             {"xlm-roberta", Family::roberta},
                                             {"camembert", Family::roberta}};

BertConfig distilbert_config(const format::JsonView& json) {
  BertConfig c{.family = Family::distilbert};
  c.vocab = size(json, "vocab_size", 30522);
  c.hidden = size(json, "dim", 768);
  c.heads = size(json, "n_heads", 12);
  c.mlp = size(json, "hidden_dim", 3072);
  c.layers = layers(json, "n_layers", 6);
  c.positions = size(json, "max_position_embeddings", 512);
  c.activation = activation(json, "activation", "gelu");
  c.dropout = probability(json, "dropout", 0.1);
  c.attention_dropout = probability(json, "attention_dropout", 0.1);
  c.head_dropout = probability(json, "seq_classif_dropout", 0.2);
  return c;
}

BertConfig plain_config(const format::JsonView& json, Family family) {
  BertConfig c{.family = family};
  c.vocab = size(json, "vocab_size", 30522);
  c.hidden = size(json, "hidden_size", 768);
  c.heads = size(json, "num_attention_heads", 12);
  c.mlp = size(json, "intermediate_size", 3072);
  c.layers = layers(json, "num_hidden_layers", 12);
  c.positions = size(json, "max_position_embeddings", 512);
  c.types = size(json, "type_vocab_size", 2);
  c.norm_eps = epsilon(json, "layer_norm_eps", 1e-12);
  c.activation = activation(json, "hidden_act", "gelu");
  c.dropout = probability(json, "hidden_dropout_prob", 0.1);
  c.attention_dropout = probability(json, "attention_probs_dropout_prob", 0.1);
  c.head_dropout = probability(json, "classifier_dropout", c.dropout);
  if (family == Family::roberta) {
    c.first_position = static_cast<int>(json.get_integer("pad_token_id", 1, 0, c.positions - 2)) + 1;
  }
  if (json.get_string("position_embedding_type", "absolute") != "absolute") {
    json.at("position_embedding_type").fail("\"absolute\"");
  }
  for (const char* variant : {"is_decoder", "add_cross_attention"}) {
    if (json.get_boolean(variant, false)) json.at(variant).fail("false (an encoder)");
  }
  return c;
}

}  // namespace

std::optional<Family> bert_family(std::string_view model_type) {
  for (const auto& [type, family] : kModelTypes)
    if (type == model_type) return family;
  return {};
}

BertConfig bert_config(const format::JsonView& json) {
  Family family = model_type<Family>(json, kModelTypes);
  BertConfig config = family == Family::distilbert ? distilbert_config(json) : plain_config(json, family);
  if (config.hidden % config.heads)
    throw base::Error(base::Kind::invalid, fmt::format("{}: {} heads do not divide the hidden size {}",
                                                       json.where(), config.heads, config.hidden));
  config.labels = labels(json);
  return config;
}

// ---- weights

EncoderLayer::EncoderLayer(const BertConfig& c, int ranks)
    : query(c.hidden, c.hidden / ranks, true, Split::out),
      key(c.hidden, c.hidden / ranks, true, Split::out),
      value(c.hidden, c.hidden / ranks, true, Split::out),
      attention_output(c.hidden / ranks, c.hidden, true, Split::in),
      up(c.hidden, c.mlp / ranks, true, Split::out),
      down(c.mlp / ranks, c.hidden, true, Split::in),
      attention_norm(nn::NormKind::layer, c.hidden, c.norm_eps),
      output_norm(nn::NormKind::layer, c.hidden, c.norm_eps) {}

Bert::Bert(const BertConfig& config, int ranks)
    : config(config),
      words(config.vocab, config.hidden),
      positions(config.positions, config.hidden),
      types(config.types, config.hidden),
      norm(nn::NormKind::layer, config.hidden, config.norm_eps) {
  layers.reserve(config.layers);
  for (int i = 0; i < config.layers; i++) layers.emplace_back(config, ranks);
}

void Bert::fields(const nn::Fields& f) {
  const Names& n = names(config.family);
  f("embeddings.word_embeddings.weight", words);
  f("embeddings.position_embeddings.weight", positions);
  if (types) f("embeddings.token_type_embeddings.weight", types);
  f("embeddings.LayerNorm", norm);
  for (size_t i = 0; i < layers.size(); i++) {
    nn::Fields layer = f.at(fmt::format("{}.{}", n.layer, i));
    layer(n.query, layers[i].query);
    layer(n.key, layers[i].key);
    layer(n.value, layers[i].value);
    layer(n.attention_output, layers[i].attention_output);
    layer(n.attention_norm, layers[i].attention_norm);
    layer(n.up, layers[i].up);
    layer(n.down, layers[i].down);
    layer(n.output_norm, layers[i].output_norm);
  }
}

ClassifierHead::ClassifierHead(const BertConfig& config)
    : config(config), dense(config.hidden, config.hidden), out(config.hidden, config.labels) {}

void ClassifierHead::fields(const nn::Fields& f) {
  f(names(config.family).head_dense, dense);
  f(names(config.family).head_out, out);
}

void TextClassifier::fields(const nn::Fields& f) {
  f(names(body.config.family).body, body);
  head.fields(f);
}

// ---- recordings

Tensor encoder_layer(Recorder& r, EncoderLayer& w, const BertConfig& c, Tensor x) {
  nn::AttendSpec spec{.head_dim = c.hidden / c.heads, .dropout = c.attention_dropout};
  Tensor q = r.linear(x, w.query), k = r.linear(x, w.key), v = r.linear(x, w.value);
  Tensor a = r.linear(r.attend(q, {.key = k, .value = v}, spec), w.attention_output);
  Tensor h = r.norm(r.add(x, r.dropout(a, c.dropout)), w.attention_norm);
  Tensor m = r.linear(r.activate(c.activation, r.linear(h, w.up)), w.down);
  return r.norm(r.add(h, r.dropout(m, c.dropout)), w.output_norm);
}

namespace {

Tensor embed(Recorder& r, Bert& w, const EncoderInputs& in) {
  const BertConfig& c = w.config;
  std::vector<Recorder::Table> tables{{w.words, in.ids},
                                      {w.positions, r.positions(in.tokens, c.first_position)}};
  if (w.types) tables.push_back({w.types, in.types});
  return r.dropout(r.norm(r.embed(tables), w.norm), c.dropout);
}

/// x through layers [first, end).
Tensor through(Recorder& r, Bert& w, Tensor x, int first, int end) {
  for (int i = first; i < end; i++) x = r.layer([&] { return encoder_layer(r, w.layers[i], w.config, x); });
  return x;
}

}  // namespace

Tensor encode(Recorder& r, Bert& w, const EncoderInputs& in) {
  return through(r, w, embed(r, w, in), 0, w.config.layers);
}

Tensor classify(Recorder& r, ClassifierHead& w, Tensor x, Index first) {
  const BertConfig& c = w.config;
  Tensor pooled = r.rows(x, first);
  if (c.family == Family::roberta) pooled = r.dropout(pooled, c.head_dropout);
  Activation activation = c.family == Family::distilbert ? Activation::relu : Activation::tanh;
  Tensor h = r.activate(activation, r.linear(pooled, w.dense));
  return r.linear(r.dropout(h, c.head_dropout), w.out);
}

Tensor pool(Recorder& r, Tensor x, Space tokens, Pooling pooling) {
  Space sequences = r.sequences(tokens);
  if (pooling == Pooling::mean) return r.mean(x, sequences);
  return r.rows(x, pooling == Pooling::first ? r.first(tokens, sequences) : r.last(tokens, sequences));
}

namespace {

EncoderInputs encoder_inputs(Recorder& r) {
  EncoderInputs in{.tokens = r.space("tokens")};
  in.ids = r.index("input_ids", in.tokens);
  in.types = r.index("token_type_ids", in.tokens);
  return in;
}

}  // namespace

EncoderRecording record_encoder(TextClassifier& model, std::optional<Pooling> pooling,
                                nn::RecorderOptions options, Cut cut) {
  Recorder r(options);
  EncoderInputs in = encoder_inputs(r);
  Bert& body = model.body;
  if (cut.first > 0) in.states = r.input(in.tokens, body.config.hidden, "states");
  Tensor x = cut.first > 0 ? in.states : embed(r, body, in);
  Tensor kept = through(r, body, x, cut.first, std::max(cut.first, cut.kept));
  x = through(r, body, kept, std::max(cut.first, cut.kept), body.config.layers);
  r.output(pooling ? pool(r, x, in.tokens, *pooling)
                   : classify(r, model.head, x, r.first(in.tokens, r.sequences(in.tokens))));
  if (cut.kept > 0) r.output(kept);
  return {r.finish(), in};
}

EncoderRecording record_classifier(TextClassifier& model, nn::RecorderOptions options) {
  return record_encoder(model, {}, options);
}

}  // namespace textmill::models
