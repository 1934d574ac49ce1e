#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "data/schema.h"
#include "format/json.h"
#include "models/bert.h"
#include "nn/prepacked.h"
#include "nn/safetensors.h"
#include "tasks/engine.h"
#include "tasks/quantization.h"
#include "tasks/scores.h"
#include "tasks/sentence.h"
#include "text/tokenizer.h"

namespace textmill::tasks {

/// A model folder of Hugging Face's layout: config.json, model.safetensors (or its shards), tokenizer files. Mapped, not
/// read: opening is fast. Every error names the file, and the member or the tensor in it.
class ModelFolder {
 public:
  /// A folder, or a tar archive (model.tar.gz) of one, which is unpacked for the life of the object. Throws not_found,
  /// invalid: not a model folder, an architecture that is not built.
  explicit ModelFolder(const base::Path& path);

  const base::Path& path() const { return path_; }      // as it was given
  const base::Path& folder() const { return folder_; }  // where the files are
  const format::Json& config() const { return config_; }
  const models::BertConfig& architecture() const { return architecture_; }
  const std::vector<std::string>& labels() const { return labels_; }  // by id
  /// Softmax only of a model that chooses one of several labels.
  ScoreFunction score_function() const;
  const Quantization& quantization() const { return quantization_; }

  /// The checkpoint ends in a classification head; without one it is a bare encoder.
  bool has_head() const { return has_head_; }

  /// How a bare encoder embeds (read_sentence_modules); nothing of a model with a head.
  SentenceModules sentence_modules() const;

  /// Where the weights' packed copies are kept: beside them; nothing of an archive, which is unpacked each time.
  std::optional<nn::PackedCache> packed_cache() const;

  /// Lets go of the weights' pages that were read; they come back from the file.
  void release_pages() const { stored_->release_pages(); }

  /// Throws invalid if config.json's "architectures" names a head that is not built, such as BertForTokenClassification.
  void require_built_head() const;

  /// SHA-256 of config.json and the weights' files.
  std::string checksum() const;

  /// The weights as they are stored, borrowed: this object must outlive them. Throws invalid naming the file and the
  /// tensor that is missing, or has another shape than config.json asks for, or that it is a bare encoder.
  std::unique_ptr<models::TextClassifier> load() const;
  /// The same, and of a bare encoder the body: its head stays empty. Throws as require_built_head() does.
  std::unique_ptr<models::TextClassifier> load_encoder() const;
  /// To train on other labels, or a bare encoder: the head's last layer is drawn from the seed (normal with
  /// initializer_range, biases 0), and what else of the head the checkpoint lacks; the log says what. `architecture` may
  /// differ from architecture() in labels and dropout. Throws invalid if the model is quantized, as does the other way to
  /// train one.
  std::unique_ptr<models::TextClassifier> load_with_fresh_head(const models::BertConfig& architecture,
                                                               uint64_t seed) const;
  /// load() with `architecture`, which may differ in dropout, to train on.
  std::unique_ptr<models::TextClassifier> load(const models::BertConfig& architecture) const;

  /// Nothing if there is none that we know; tokenizer() then throws invalid.
  std::optional<text::Tokenizer> find_tokenizer() const;
  text::Tokenizer tokenizer() const;

  /// `flag`, else max_seq_length of sentence_bert_config.json, else what the tokenizer's files say (null: no tokenizer),
  /// else what the position table holds; never more than that. Throws invalid if `flag` is more.
  MaxLength max_length(std::optional<int> flag, const text::Tokenizer* tokenizer) const;

 private:
  void require_trainable() const;
  std::unique_ptr<models::TextClassifier> load_all(const models::BertConfig& architecture) const;

  base::Path path_;
  std::unique_ptr<base::TemporaryFolder> unpacked_;
  base::Path folder_;
  format::Json config_;
  models::BertConfig architecture_;
  std::vector<std::string> labels_;
  std::string problem_type_;
  Quantization quantization_;
  std::unique_ptr<nn::Safetensors> stored_;
  std::string other_head_;  // transformers' class, if its head is not ours
  bool has_head_ = false;
};

/// The tokenizer of a folder that need not hold a model. Throws as ModelFolder::tokenizer() where its config.json is of a
/// model type whose tokenizer is not built.
text::Tokenizer load_tokenizer(const base::Path& folder);

/// A file of a model folder, but for its weights, that lies in `folder`: what is written there would mix with it.
std::optional<std::string> model_file_in(const base::Path& folder);

/// Writes `model` with its weights as they are held, some of them quantized: `base`'s config.json with `quantization` as its
/// "quantization_config" (quantization.h); tensors in i8 with their rows' scales beside them, NAME_scale in F32, and packed
/// ones in their layout; `base`'s tokenizer files and those of its sentence modules. Durable, the weights last.
void write_quantized_folder(const base::Path& to, const ModelFolder& base, models::TextClassifier& model,
                            const format::Json& quantization);

/// Writes what transformers loads as AutoModelForSequenceClassification: config.json, the weights in f32 (nn::write_model), the
/// tokenizer files of `base` unchanged, and the maximum length in sentence_bert_config.json. Durable, the weights last.
/// `labels` by id; `columns`: those that it was trained on (set_columns).
void write_model_folder(const base::Path& to, const ModelFolder& base, models::TextClassifier& model,
                        const std::vector<std::string>& labels, int max_length, const data::Columns& columns);

}  // namespace textmill::tasks
