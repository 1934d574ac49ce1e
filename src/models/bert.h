#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/json.h"
#include "nn/record.h"
#include "nn/weights.h"

namespace textmill::models {

/// BERT (Devlin et al. 2018) and the encoders that differ from it by configuration, names or the
/// classification head alone: MiniLM, DistilBERT (Sanh et al. 2019), RoBERTa (Liu et al. 2019) and XLM-R.
struct BertConfig {
  enum class Family : uint8_t { bert, distilbert, roberta };
  Family family = Family::bert;
  int vocab = 0, hidden = 0, heads = 0, mlp = 0, layers = 0;
  int positions = 0;       // rows of the position table
  int first_position = 0;  // RoBERTa counts from behind its padding id
  int types = 0;           // rows of the type table; 0: there is none
  double norm_eps = 1e-12;
  nn::Activation activation = nn::Activation::gelu;
  double dropout = 0.1, attention_dropout = 0.1, head_dropout = 0.1;
  int labels = 2;

  /// Tokens of the longest sequence, special ones included.
  int max_length() const { return positions - first_position; }
};

/// The family of a config.json's model_type; nothing if it is none of these.
std::optional<BertConfig::Family> bert_family(std::string_view model_type);

/// Reads a config.json. Throws invalid naming the file and the member: a model type that is not one of these,
/// a value out of range, a variant that is not built (relative positions, cross-attention).
BertConfig bert_config(const format::JsonView& config);

struct EncoderLayer {
  EncoderLayer(const BertConfig& config, int ranks);
  nn::Linear query, key, value, attention_output, up, down;
  nn::Norm attention_norm, output_norm;
};

/// The body.
struct Bert {
  /// `ranks`: a slice for tensor parallelism.
  explicit Bert(const BertConfig& config, int ranks = 1);
  void fields(const nn::Fields& f);
  BertConfig config;
  nn::Weight words, positions, types;
  nn::Norm norm;
  std::vector<EncoderLayer> layers;
};

/// The head: pools the first token's row.
struct ClassifierHead {
  explicit ClassifierHead(const BertConfig& config);
  void fields(const nn::Fields& f);
  BertConfig config;
  nn::Linear dense, out;
};

struct EncoderInputs {
  nn::Space tokens;
  nn::Index ids, types;    // types: unused if the configuration has none
  nn::Tensor states = {};  // of a recording that begins between layers
};

nn::Tensor encoder_layer(nn::Recorder& r, EncoderLayer& w, const BertConfig& config, nn::Tensor x);
nn::Tensor encode(nn::Recorder& r, Bert& w, const EncoderInputs& inputs);  // [tokens, hidden]
nn::Tensor classify(nn::Recorder& r, ClassifierHead& w, nn::Tensor x,
                    nn::Index first);  // [first's rows, labels]
/// How a sequence's rows become its embedding.
enum class Pooling : uint8_t { mean, first, last };
nn::Tensor pool(nn::Recorder& r, nn::Tensor x, nn::Space tokens, Pooling pooling);  // [sequences, hidden]

/// Body and head: text classification.
struct TextClassifier {
  explicit TextClassifier(const BertConfig& config) : body(config), head(config) {}
  void fields(const nn::Fields& f);
  Bert body;
  ClassifierHead head;
};

/// A recording with the inputs it asks for; output 0 is [sequences, labels or hidden].
struct EncoderRecording {
  nn::Recording recording;
  EncoderInputs inputs;
};

/// Where a recording begins and what it gives besides, as numbers of the body's layers that are done by then.
struct Cut {
  int first =
      0;  // if not 0, the states after these layers are an input, and the layers are not in the recording
  int kept = 0;  // if not 0, above `first`: the states after these are output 1, [tokens, hidden]
};

/// A classifier, or with a `pooling` the body alone, which embeds.
EncoderRecording record_encoder(TextClassifier& model, std::optional<Pooling> pooling,
                                nn::RecorderOptions options, Cut cut = {});
EncoderRecording record_classifier(TextClassifier& model, nn::RecorderOptions options);

}  // namespace textmill::models
