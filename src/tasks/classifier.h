#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"
#include "nn/record.h"

namespace textmill::tasks {

/// One sequence as the engine takes it: special tokens included, padding gone.
struct PackedItem {
  std::vector<int32_t> input_ids, type_ids;  // of the same length
};

struct EngineOptions {
  std::optional<nn::Format>
      format;       // of weights and activations; by default bf16 where the CPU has the dot product
  int threads = 0;  // 0: as many as this process may use
};

struct ClassifierOptions {
  EngineOptions engine;
  std::optional<int> max_length;  // tokens of a sequence; see max_length()
};

/// Text classification with one model: text in, a logit per label out. Everything but run() may be called from any
/// number of threads at once; run() from one at a time.
class Classifier {
 public:
  /// Opens a Hugging Face folder or a model.tar.gz of one. Throws Error naming the file and what is wrong with it.
  Classifier(const base::Path& model, const ClassifierOptions& options);
  ~Classifier();

  /// Tokenizes, truncates to max_length(). Throws invalid if the model has no tokenizer that we know.
  PackedItem encode(std::string_view text, std::optional<std::string_view> pair = {}) const;

  /// From ids that a client made: the mask (may be empty: all ones) must be a prefix of ones, the types (may be empty:
  /// zeros) within the model's, the ids within its vocabulary, 1..max_positions of them kept. Throws invalid with the
  /// field and the position.
  PackedItem pack(std::span<const int64_t> input_ids, std::span<const int64_t> attention_mask = {},
                  std::span<const int64_t> token_type_ids = {}) const;

  /// Fills `logits` with [items, labels]. An item's logits do not depend on its neighbours or on the threads, byte for
  /// byte.
  void run(std::span<const PackedItem* const> items, std::vector<float>& logits);

  /// Of one item's logits: softmax, or sigmoid where the configuration says multi-label or has a single label.
  std::vector<float> scores(std::span<const float> logits) const;

  const std::vector<std::string>& labels() const;  // by id
  int max_length() const;
  nn::Format format() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace textmill::tasks
