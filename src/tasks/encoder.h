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
#include "tasks/sentence.h"
#include "tasks/unpad.h"

namespace textmill::tasks {

struct EncoderOptions {
  EngineOptions engine;
  std::optional<int> max_length;  // tokens of a sequence; see ModelFolder::max_length
  bool keep_packed =
      false;  // packed weights are kept in the model's folder and mapped from there (nn/prepacked.h)
};

/// What happens to a text of more tokens than allowed.
enum class TooLong : uint8_t {
  cut,        // where the tokenizer's files say, else as cut_end
  cut_end,    // of a pair the longer text first, unless tokenizer.json says another
  cut_begin,  // of single texts only
  refuse,
};

struct Truncation {
  std::optional<int> max_length;  // by default Encoder::max_length()
  TooLong too_long = TooLong::cut;
};

/// An encoder with a row of numbers for each text: a logit per label, or, of a folder without a head, an embedding.
/// Everything but run() may be called from any number of threads at once; run() from one at a time.
class Encoder {
 public:
  /// Opens a Hugging Face folder or a model.tar.gz of one. Throws Error naming the file and what is wrong with it.
  Encoder(const base::Path& model, const EncoderOptions& options);
  ~Encoder();

  /// Tokenizes. Throws invalid if the model has no tokenizer that we know, or fewer positions than asked for, or if the text
  /// is to be refused.
  PackedItem encode(std::string_view text, std::optional<std::string_view> pair = {},
                    const Truncation& truncation = {}) const;

  /// As tasks::unpad, up to max_length() tokens.
  PackedItem unpad(const RawItem& item) const;

  /// Fills `outputs` with [items, width()]: logits, or pooled states, not normalized. An item's row does not depend on its
  /// neighbours or on the threads, byte for byte.
  void run(std::span<const PackedItem* const> items, std::vector<float>& outputs);

  bool embeds() const { return !folder().has_head(); }
  int width() const;                       // labels, or dimensions of an embedding
  const SentenceModules& modules() const;  // of embeddings
  const ModelFolder& folder() const;

  const MaxLength& max_length() const;
  nn::Format format() const;
  int threads() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace textmill::tasks
