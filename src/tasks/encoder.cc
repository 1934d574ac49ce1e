#include "tasks/encoder.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "nn/kernel/pool.h"
#include "tasks/inference.h"

namespace textmill::tasks {

using base::Error;
using base::Kind;

struct Encoder::State {
  State(const base::Path& path, const EncoderOptions& options)
      : folder(path),
        tokenizer(folder.find_tokenizer()),
        max_length(with_room(folder.max_length(options.max_length, tokenizer ? &*tokenizer : nullptr))),
        format(choose_format(options.engine)),
        pool(choose_threads(options.engine)),
        model(folder.load_encoder()),
        modules(folder.sentence_modules()),
        cache(options.keep_packed ? folder.packed_cache() : std::nullopt),
        inference(models::record_encoder(*model, modules.pooling, {}), format, pool,
                  cache ? &*cache : nullptr) {
    folder.release_pages();  // packed by now; the rows of tables that are used come back
  }

  /// Throws invalid if no text has room for a token.
  MaxLength with_room(MaxLength length) const {
    size_t special = tokenizer ? tokenizer->encode("").size() : 0;
    if (!tokenizer || std::cmp_greater(length.tokens, special)) return length;
    throw Error(Kind::invalid,
                fmt::format("{}: {} tokens at most ({}): no room for a text beside {} special ones",
                            folder.path().string(), length.tokens, length.source, special));
  }

  ModelFolder folder;
  std::optional<text::Tokenizer> tokenizer;
  MaxLength max_length;
  nn::Format format;
  nn::kernel::Pool pool;
  std::unique_ptr<models::TextClassifier> model;  // its head empty if it embeds
  SentenceModules modules;
  std::optional<nn::PackedCache> cache;
  Inference inference;
  PackedBatch batch;
};

Encoder::Encoder(const base::Path& model, const EncoderOptions& options)
    : state_(std::make_unique<State>(model, options)) {}

Encoder::~Encoder() = default;

PackedItem Encoder::encode(std::string_view text, std::optional<std::string_view> pair,
                           const Truncation& truncation) const {
  if (!state_->tokenizer) state_->folder.tokenizer();  // throws what is missing
  auto most =
      static_cast<size_t>(truncation.max_length ? state_->folder.max_length(truncation.max_length, {}).tokens
                                                : state_->max_length.tokens);
  const bool begin_of_pair = truncation.too_long == TooLong::cut_begin && pair.has_value();
  text::EncodeOptions options;
  if (truncation.too_long != TooLong::refuse && !begin_of_pair) options.max_length = most;
  if (truncation.too_long == TooLong::cut_end) options.side = text::Side::right;
  if (truncation.too_long == TooLong::cut_begin) options.side = text::Side::left;
  auto encoding = state_->tokenizer->encode(text, pair, options);
  if (encoding.size() > most) {
    throw Error(Kind::invalid, fmt::format("{} tokens, at most {}{}", encoding.size(), most,
                                           begin_of_pair ? " (the beginning of a pair is not cut)" : ""));
  }
  return {std::move(encoding.ids), std::move(encoding.type_ids)};
}

PackedItem Encoder::unpad(const RawItem& item) const {
  return tasks::unpad(item, state_->folder.architecture(), state_->max_length.tokens);
}

void Encoder::run(std::span<const PackedItem* const> items, std::vector<float>& outputs) {
  state_->batch.clear();
  for (const PackedItem* item : items) state_->batch.add(item->input_ids, item->type_ids);
  auto output = state_->inference.run(state_->batch);
  outputs.assign(output.begin(), output.end());
}

int Encoder::width() const {
  return embeds() ? folder().architecture().hidden : static_cast<int>(folder().labels().size());
}
const SentenceModules& Encoder::modules() const { return state_->modules; }
const ModelFolder& Encoder::folder() const { return state_->folder; }
const MaxLength& Encoder::max_length() const { return state_->max_length; }
nn::Format Encoder::format() const { return state_->format; }
int Encoder::threads() const { return state_->pool.threads(); }

}  // namespace textmill::tasks
