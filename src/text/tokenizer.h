#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"

namespace textmill::text {

/// [begin, end) in Unicode code points of the text it was encoded from (not bytes, not UTF-16 units).
struct Offset {
  uint32_t begin, end;
  bool operator==(const Offset&) const = default;
};

/// Three columns of one length: a row per token.
struct Encoding {
  std::vector<int32_t> ids;
  std::vector<int32_t> type_ids;
  std::vector<Offset>
      offsets;  // in the token's own text, first or second; {0, 0} for the template's [CLS], [SEP]

  size_t size() const { return ids.size(); }
  void clear();
};

/// Where a text that is too long loses tokens: at its beginning, or at its end.
enum class Side : uint8_t { left, right };

struct EncodeOptions {
  /// At most so many tokens, special ones included. Which text of a pair loses some is what tokenizer.json says, else the
  /// longer one first. Nothing: no limit (the one in the tokenizer's files is not applied, nor is their padding).
  std::optional<size_t> max_length;
  bool add_special_tokens =
      true;  // those of the template; special tokens in the text itself are always recognized
  std::optional<Side> side = {};  // by default what the tokenizer's files say, else right
};

/// A tokenizer, immutable once loaded: any number of threads may use one. Ids and offsets are those of the `tokenizers`
/// package for the same files.
class Tokenizer {
 public:
  /// From a Hugging Face folder: `tokenizer.json`, else `vocab.txt` with what `tokenizer_config.json` says about it.
  /// Throws not_found if there is neither, invalid naming the file, the field and what is supported.
  static Tokenizer load(const base::Path& folder);
  /// From the text of a tokenizer.json.
  static Tokenizer from_json(std::string_view json);

  Tokenizer(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// `text`, or the two texts of a pair, as the model takes them. Throws invalid if a text is not UTF-8, or if max_length
  /// leaves no room for the special tokens, or none for the only text that tokenizer.json lets be cut.
  Encoding encode(std::string_view text, std::optional<std::string_view> pair = {},
                  const EncodeOptions& options = {}) const;
  /// The same into `out`, whose memory is used again.
  void encode(std::string_view text, std::optional<std::string_view> pair, const EncodeOptions& options,
              Encoding& out) const;

  /// One past the largest id.
  int vocab_size() const;
  /// The token's text; empty for an id that has none. Throws invalid outside [0, vocab_size()).
  std::string_view token(int id) const;
  /// The maximum length that the tokenizer's files name: `truncation.max_length` of tokenizer.json, or
  /// `model_max_length` of tokenizer_config.json beside vocab.txt.
  std::optional<size_t> file_max_length() const;

 private:
  struct State;
  explicit Tokenizer(std::unique_ptr<const State> state);
  std::unique_ptr<const State> state_;
};

}  // namespace textmill::text
