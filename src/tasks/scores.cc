#include "tasks/scores.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace textmill::tasks {

constexpr int kMostInMatrix = 200;  // labels: a matrix of more is megabytes of zeros

std::vector<float> softmax(std::span<const float> logits) {
  float largest = *std::max_element(logits.begin(), logits.end());
  std::vector<float> scores(logits.size());
  double sum = 0;
  for (size_t i = 0; i < logits.size(); i++) sum += scores[i] = std::exp(logits[i] - largest);
  for (float& score : scores) score = static_cast<float>(score / sum);
  return scores;
}

std::vector<float> sigmoid(std::span<const float> logits) {
  std::vector<float> scores(logits.size());
  std::transform(logits.begin(), logits.end(), scores.begin(),
                 [](float x) { return 1 / (1 + std::exp(-x)); });
  return scores;
}

std::vector<float> scores(std::span<const float> logits, ScoreFunction function) {
  if (function == ScoreFunction::softmax) return softmax(logits);
  if (function == ScoreFunction::sigmoid) return sigmoid(logits);
  return {logits.begin(), logits.end()};
}

double cross_entropy(std::span<const float> logits, int label) {
  double largest = *std::max_element(logits.begin(), logits.end()), sum = 0;
  for (float logit : logits) sum += std::exp(logit - largest);
  return std::log(sum) + largest - logits[label];
}

bool is_finite(std::span<const float> outputs) {
  return std::ranges::all_of(outputs, [](float x) { return std::isfinite(x); });
}

int best_label(std::span<const float> logits) {
  return static_cast<int>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

Scores::Scores(int labels, std::optional<int> positive)
    : labels_(labels), positive_(positive), truths_(labels), answers_(labels) {
  if (!positive_ && labels == 2) positive_ = 1;
  TEXTMILL_CHECK(labels > 0 && (!positive_ || (*positive_ >= 0 && *positive_ < labels)));
}

void Scores::add(int label, std::span<const float> logits) {
  TEXTMILL_CHECK(label >= 0 && label < labels_ && std::ssize(logits) == labels_);
  for (float logit : logits) {
    if (std::isfinite(logit)) continue;
    throw base::Error(base::Kind::internal,
                      fmt::format("the model answered {} as a logit of row {}", logit, count_ + 1));
  }
  add_answers(label, best_label(logits), 1);
  loss_ += cross_entropy(logits, label);
}

void Scores::add_answers(int label, int answer, int64_t rows) {
  TEXTMILL_CHECK(label >= 0 && label < labels_ && answer >= 0 && answer < labels_ && rows >= 0);
  confusion_[{label, answer}] += rows;
  truths_[label] += rows;
  answers_[answer] += rows;
  count_ += rows;
}

double Scores::accuracy() const {
  int64_t right = 0;
  for (int label = 0; label < labels_; label++) right += confusion(label, label);
  return count_ ? static_cast<double>(right) / count_ : 0;
}

std::pair<int64_t, int64_t> Scores::f1_terms(int label) const {
  return {2 * confusion(label, label), truths_[label] + answers_[label]};
}

double Scores::macro_f1() const {
  double sum = 0;
  int classes = 0;
  for (int label = 0; label < labels_; label++) {
    auto [numerator, denominator] = f1_terms(label);
    if (denominator == 0) continue;
    sum += static_cast<double>(numerator) / denominator;
    classes++;
  }
  return classes ? sum / classes : 0;
}

std::optional<double> Scores::positive_f1() const {
  if (!positive_) return {};
  auto [numerator, denominator] = f1_terms(*positive_);
  return denominator ? static_cast<double>(numerator) / denominator : 0;
}

format::Json to_json(const Scores& scores, const std::vector<std::string>& labels) {
  TEXTMILL_CHECK(std::ssize(labels) == scores.labels());
  auto json = format::Json::object(
      {{"accuracy", scores.accuracy()}, {"macro_f1", scores.macro_f1()}, {"micro_f1", scores.micro_f1()}});
  if (auto positive = scores.positive()) {
    json.set("positive", labels[*positive]);
    json.set("positive_f1", *scores.positive_f1());
  }
  json.set("loss", scores.mean_loss());
  json.set("count", scores.count());
  json.set("labels", format::Json::array(labels));
  format::Json::Array matrix;
  if (scores.labels() > kMostInMatrix) {
    for (const auto& [cell, rows] : scores.cells())
      matrix.emplace_back(format::Json::Array{cell.first, cell.second, rows});
    json.set("confusion_cells", std::move(matrix));
    return json;
  }
  for (int label = 0; label < scores.labels(); label++) {
    format::Json::Array row;
    for (int answer = 0; answer < scores.labels(); answer++)
      row.emplace_back(scores.confusion(label, answer));
    matrix.emplace_back(std::move(row));
  }
  json.set("confusion_matrix", std::move(matrix));
  return json;
}

}  // namespace textmill::tasks
