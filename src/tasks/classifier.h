#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"
#include "tasks/engine.h"
#include "tasks/model_folder.h"
#include "tasks/packed.h"

namespace textmill::tasks {

struct ClassifierOptions {
  EngineOptions engine;
  std::optional<int> max_length;  // tokens of a sequence; see ModelFolder::max_length
};

/// What a client sent as numbers, padded or not.
struct RawItem {
  std::span<const int64_t> input_ids, attention_mask,
      token_type_ids;  // the last two may be empty: ones, zeros
};

/// Text classification with one model: text in, a logit per label out. Everything but run() may be called from any
/// number of threads at once; run() from one at a time.
class Classifier {
 public:
  /// Opens a Hugging Face folder or a model.tar.gz of one. Throws Error naming the file and what is wrong with it.
  Classifier(const base::Path& model, const ClassifierOptions& options);
  ~Classifier();

  /// Tokenizes, truncates to `max_length`, else to max_length(). Throws invalid if the model has no tokenizer that we
  /// know, or fewer positions.
  PackedItem encode(std::string_view text, std::optional<std::string_view> pair = {},
                    std::optional<int> max_length = {}) const;

  /// Takes the padding off. Throws invalid with the field and the position: a mask that is not a prefix of ones, other
  /// lengths, an id outside of the vocabulary, a type that the model does not have, no token at all or more than the
  /// model has positions.
  PackedItem unpad(const RawItem& item) const;

  /// Fills `logits` with [items, labels]. An item's logits do not depend on its neighbours or on the threads, byte for
  /// byte.
  void run(std::span<const PackedItem* const> items, std::vector<float>& logits);

  /// What the configuration asks for, as transformers' pipelines read it.
  ScoreFunction score_function() const;
  const std::vector<std::string>& labels() const;  // by id
  const MaxLength& max_length() const;
  nn::Format format() const;
  int threads() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace textmill::tasks
