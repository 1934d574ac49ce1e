#include "tasks/encoder.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "nn/kernel/pool.h"
#include "tasks/inference.h"

namespace textmill::tasks {
namespace {

using base::Error;
using base::Kind;

/// The number of ones that `mask` begins with; after them only zeros are allowed.
size_t length_of(std::span<const int64_t> mask) {
  size_t length = std::find(mask.begin(), mask.end(), 0) - mask.begin();
  for (size_t i = 0; i < mask.size(); i++) {
    if (mask[i] == (i < length ? 1 : 0)) continue;
    throw Error(Kind::invalid,
                fmt::format("attention_mask[{}] is {}, expected ones and then zeros (padding on the right)",
                            i, mask[i]));
  }
  return length;
}

std::vector<int32_t> take(const char* field, std::span<const int64_t> values, size_t length, int64_t below) {
  std::vector<int32_t> taken(length);
  for (size_t i = 0; i < length; i++) {
    if (values[i] < 0 || values[i] >= below) {
      throw Error(Kind::invalid,
                  fmt::format("{}[{}] is {}, expected 0 to {}", field, i, values[i], below - 1));
    }
    taken[i] = static_cast<int32_t>(values[i]);
  }
  return taken;
}

void check_length(const char* field, size_t length, size_t expected) {
  if (length == 0 || length == expected) return;
  throw Error(Kind::invalid, fmt::format("{} has {} numbers, input_ids {}", field, length, expected));
}

}  // namespace

struct Encoder::State {
  State(const base::Path& path, const EncoderOptions& options)
      : folder(path),
        tokenizer(folder.find_tokenizer()),
        max_length(folder.max_length(options.max_length, tokenizer ? &*tokenizer : nullptr)),
        format(choose_format(options.engine)),
        pool(choose_threads(options.engine)),
        model(folder.has_head() ? folder.load() : folder.load_body()),
        modules(folder.has_head() ? SentenceModules{} : read_sentence_modules(folder.folder())),
        inference(folder.has_head() ? models::record_classifier(*model, {})
                                    : models::record_embedder(model->body, modules.pooling, {}),
                  format, pool) {
    folder.release_pages();  // packed by now; the rows of tables that are used come back
  }

  ModelFolder folder;
  std::optional<text::Tokenizer> tokenizer;
  MaxLength max_length;
  nn::Format format;
  nn::kernel::Pool pool;
  std::unique_ptr<models::TextClassifier> model;  // its head empty if it embeds
  SentenceModules modules;
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
  text::EncodeOptions options;
  if (truncation.too_long == TooLong::cut_end) options.max_length = most;
  auto encoding = state_->tokenizer->encode(text, pair, options);
  if (size_t tokens = encoding.size(); tokens > most) {
    if (truncation.too_long == TooLong::refuse || pair) {
      throw Error(Kind::invalid, fmt::format("{} tokens, at most {}{}", tokens, most,
                                             pair ? " (the beginning of a pair is not cut)" : ""));
    }
    auto cut = [&](std::vector<int32_t>& column) {  // what is before the text stays
      auto begin = column.begin() + (state_->tokenizer->encode("").size() > 1);
      column.erase(begin, begin + static_cast<ptrdiff_t>(tokens - most));
    };
    cut(encoding.ids);
    cut(encoding.type_ids);
  }
  return {std::move(encoding.ids), std::move(encoding.type_ids)};
}

PackedItem Encoder::unpad(const RawItem& item) const {
  const models::BertConfig& architecture = state_->folder.architecture();
  size_t padded = item.input_ids.size();
  check_length("attention_mask", item.attention_mask.size(), padded);
  check_length("token_type_ids", item.token_type_ids.size(), padded);
  size_t length = item.attention_mask.empty() ? padded : length_of(item.attention_mask);
  if (length == 0) throw Error(Kind::invalid, "input_ids: expected at least one token that is not padding");
  if (std::cmp_greater(length, architecture.max_length())) {
    throw Error(Kind::invalid, fmt::format("input_ids: {} tokens, the model has {} positions", length,
                                           architecture.max_length()));
  }
  PackedItem packed{take("input_ids", item.input_ids, length, architecture.vocab), {}};
  packed.type_ids = item.token_type_ids.empty() ? std::vector<int32_t>(length)
                                                : take("token_type_ids", item.token_type_ids, length,
                                                       std::max(1, architecture.types));
  return packed;
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
