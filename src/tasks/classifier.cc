#include "tasks/classifier.h"

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

struct Classifier::State {
  State(const base::Path& path, const ClassifierOptions& options)
      : folder(path),
        tokenizer(folder.find_tokenizer()),
        max_length(folder.max_length(options.max_length, tokenizer ? &*tokenizer : nullptr)),
        format(choose_format(options.engine)),
        pool(choose_threads(options.engine)),
        model(folder.load()),
        inference(*model, format, pool) {
    folder.release_pages();  // packed by now; the rows of tables that are used come back
  }

  ModelFolder folder;
  std::optional<text::Tokenizer> tokenizer;
  MaxLength max_length;
  nn::Format format;
  nn::kernel::Pool pool;
  std::unique_ptr<models::TextClassifier> model;
  Inference inference;
  PackedBatch batch;
};

Classifier::Classifier(const base::Path& model, const ClassifierOptions& options)
    : state_(std::make_unique<State>(model, options)) {}

Classifier::~Classifier() = default;

PackedItem Classifier::encode(std::string_view text, std::optional<std::string_view> pair,
                              std::optional<int> max_length) const {
  if (!state_->tokenizer) state_->folder.tokenizer();  // throws what is missing
  int most = max_length ? state_->folder.max_length(max_length, {}).tokens : state_->max_length.tokens;
  auto encoding = state_->tokenizer->encode(text, pair, {.max_length = static_cast<size_t>(most)});
  return {std::move(encoding.ids), std::move(encoding.type_ids)};
}

PackedItem Classifier::unpad(const RawItem& item) const {
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

void Classifier::run(std::span<const PackedItem* const> items, std::vector<float>& logits) {
  state_->batch.clear();
  for (const PackedItem* item : items) state_->batch.add(item->input_ids, item->type_ids);
  auto output = state_->inference.run(state_->batch);
  logits.assign(output.begin(), output.end());
}

const std::vector<std::string>& Classifier::labels() const { return state_->folder.labels(); }
ScoreFunction Classifier::score_function() const { return state_->folder.score_function(); }
const MaxLength& Classifier::max_length() const { return state_->max_length; }
nn::Format Classifier::format() const { return state_->format; }
int Classifier::threads() const { return state_->pool.threads(); }

}  // namespace textmill::tasks
