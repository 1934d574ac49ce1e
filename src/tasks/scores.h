#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "format/json.h"

namespace textmill::tasks {

/// What makes scores of logits, as transformers names it.
enum class ScoreFunction { none, sigmoid, softmax };

/// Of one row.
std::vector<float> scores(std::span<const float> logits, ScoreFunction function);

/// No infinity and no NaN among them.
bool is_finite(std::span<const float> outputs);

/// Probabilities of exclusive labels: exp(logit - max) / sum.
std::vector<float> softmax(std::span<const float> logits);
/// 1 / (1 + exp(-logit)) of each: labels that do not exclude each other, or a single one.
std::vector<float> sigmoid(std::span<const float> logits);

/// Cross-entropy of one row: log(sum(exp(logits))) - logits[label].
double cross_entropy(std::span<const float> logits, int label);

/// The first of the largest.
int best_label(std::span<const float> logits);

/// The scores of single-label classification, fed row by row; memory grows with the labels and the pairs of them that occur. Definitions are
/// scikit-learn's: F1 of a class is 2·tp / (2·tp + fp + fn), macro F1 averages the classes that occur (as truth or as
/// answer), micro F1 over single labels is the accuracy.
class Scores {
 public:
  /// `positive`: the class whose F1 is reported; by default id 1 of two labels, none of more.
  explicit Scores(int labels, std::optional<int> positive = {});

  /// Throws invalid if a logit is not finite.
  void add(int label, std::span<const float> logits);

  /// `rows` of truth `label` that were answered with `answer`, without a loss.
  void add_answers(int label, int answer, int64_t rows);

  int64_t count() const { return count_; }
  double accuracy() const;
  double micro_f1() const { return accuracy(); }
  double macro_f1() const;
  std::optional<int> positive() const { return positive_; }
  std::optional<double> positive_f1() const;
  double mean_loss() const { return count_ ? loss_ / count_ : 0; }
  /// Rows of truth `label` answered with `answer`.
  int64_t confusion(int label, int answer) const {
    auto found = confusion_.find({label, answer});
    return found == confusion_.end() ? 0 : found->second;
  }
  /// Those that are not 0, by {label, answer}.
  const std::map<std::pair<int, int>, int64_t>& cells() const { return confusion_; }
  int labels() const { return labels_; }

 private:
  /// 2·tp and 2·tp + fp + fn.
  std::pair<int64_t, int64_t> f1_terms(int label) const;

  int labels_;
  std::optional<int> positive_;
  int64_t count_ = 0;
  double loss_ = 0;
  std::map<std::pair<int, int>, int64_t> confusion_;
  std::vector<int64_t> truths_, answers_;  // rows of each label
};

/// {"accuracy", "macro_f1", "micro_f1", "positive", "positive_f1", "loss", "count", "labels", "confusion_matrix"}: rows of
/// the matrix are the truth, and of more than 200 labels there are "confusion_cells" in its place, [truth, answer, rows] by id;
/// "positive" is a label, absent as its F1 when there is none.
format::Json to_json(const Scores& scores, const std::vector<std::string>& labels);

}  // namespace textmill::tasks
