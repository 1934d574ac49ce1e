#pragma once

#include <optional>
#include <stop_token>
#include <vector>

#include "offline/search_rows.h"
#include "tasks/inference.h"

namespace textmill::offline {

/// The states of all tokens of all rows after some of an encoder's layers, rounded as the engine holds them.
struct Prefix {
  int layers = 0;
  std::vector<float> states;  // [tokens, hidden]
};

/// Answers to a search's rows, in batches that are always the same.
class Trials {
 public:
  /// All must outlive it.
  Trials(models::TextClassifier& model, std::optional<models::Pooling> pooling,
         const std::vector<SearchRow>& rows, nn::kernel::Pool& pool, std::stop_token stop)
      : model_(model), pooling_(pooling), rows_(rows), pool_(pool), stop_(std::move(stop)) {}

  /// Of each row, by the model as it is held: the label's id, or of an embedder the cosine of its texts. Begins behind
  /// `from`, if it has layers: it must be the states that this model has there; the answers are the same without it. Fills
  /// the states of `keep`, if it is given and has more layers than `from`, unless they take too much memory. Throws
  /// cancelled when asked to stop, internal if an output is not finite.
  std::vector<double> answers(nn::Format format, const Prefix& from = {}, Prefix* keep = nullptr);

  /// The median time of a row alone.
  double milliseconds_a_row(nn::Format format);

 private:
  models::TextClassifier& model_;
  std::optional<models::Pooling> pooling_;
  const std::vector<SearchRow>& rows_;
  nn::kernel::Pool& pool_;
  std::stop_token stop_;
};

}  // namespace textmill::offline
