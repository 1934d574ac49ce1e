#include "offline/trials.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "nn/kernel/bf16.h"
#include "tasks/scores.h"
#include "tasks/sentence.h"

namespace textmill::offline {
namespace {

constexpr size_t kBatchRows = 64;
constexpr size_t kTimedRows = 48;                          // one at a time
constexpr size_t kMostStates = (1 << 30) / sizeof(float);  // of a prefix that is kept

/// What the engine holds of `states` between layers, behind what is there.
void append(std::span<const float> states, nn::Format format, std::vector<float>& to) {
  using nn::kernel::to_bf16, nn::kernel::widen;
  bool rounds = format == nn::Format::bf16;
  for (float x : states) to.push_back(rounds ? widen(to_bf16(x)) : x);
}

size_t count_tokens(const std::vector<SearchRow>& rows) {
  size_t tokens = 0;
  for (const SearchRow& row : rows) {
    for (const auto& item : row.texts) tokens += item.input_ids.size();
  }
  return tokens;
}

}  // namespace

std::vector<double> Trials::answers(nn::Format format, const Prefix& from, Prefix* keep) {
  auto hidden = static_cast<size_t>(model_.body.config.hidden);
  size_t all = count_tokens(rows_) * hidden;
  if (keep && (keep->layers <= from.layers || all > kMostStates)) keep = nullptr;
  if (keep) keep->states.reserve(all);
  models::Cut cut{.first = from.layers, .kept = keep ? keep->layers : 0};
  tasks::Inference inference(models::record_encoder(model_, pooling_, {}, cut), format, pool_);
  std::vector<double> answers;
  tasks::PackedBatch batch;
  size_t used = 0;  // of from's states
  for (size_t first = 0; first < rows_.size(); first += kBatchRows) {
    if (stop_.stop_requested()) {
      throw base::Error(base::Kind::cancelled, "stopped; the same command goes on from here");
    }
    batch.clear();
    size_t end = std::min(first + kBatchRows, rows_.size());
    for (size_t i = first; i < end; i++) {
      for (const auto& item : rows_[i].texts) batch.add(item.input_ids, item.type_ids);
    }
    size_t states = from.layers ? static_cast<size_t>(batch.tokens()) * hidden : 0;
    auto outputs = inference.run(batch, std::span(from.states).subspan(used, states));
    used += states;
    if (keep) append(inference.kept(), format, keep->states);
    if (!tasks::is_finite(outputs))
      throw base::Error(base::Kind::internal, "the model's outputs are not finite");
    size_t width = outputs.size() / (end - first);  // of a row's texts
    for (size_t i = 0; i < end - first; i++) {
      auto row = outputs.subspan(i * width, width);
      answers.push_back(pooling_ ? tasks::cosine(row.first(hidden), row.last(hidden))
                                 : tasks::best_label(row));
    }
  }
  return answers;
}

double Trials::milliseconds_a_row(nn::Format format) {
  tasks::Inference inference(models::record_encoder(model_, pooling_, {}), format, pool_);
  tasks::PackedBatch batch;
  std::vector<double> times;
  for (size_t i = 0; i < std::min(kTimedRows, rows_.size()); i++) {
    batch.clear();
    for (const auto& item : rows_[i].texts) batch.add(item.input_ids, item.type_ids);
    auto start = std::chrono::steady_clock::now();
    inference.run(batch);
    times.push_back(
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  std::ranges::nth_element(times, times.begin() + std::ssize(times) / 2);
  return times[times.size() / 2];
}

}  // namespace textmill::offline
