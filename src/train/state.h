#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/files.h"
#include "format/json.h"
#include "models/bert.h"
#include "train/trainer.h"

namespace textmill::train {

/// The epoch whose weights did best on the validation data.
struct Best {
  int epoch = 0;  // from 1
  double accuracy = 0, loss = 0;

  /// Higher accuracy, or the same with a lower loss.
  bool better_than(const Best& other) const {
    return accuracy != other.accuracy ? accuracy > other.accuracy : loss < other.loss;
  }
};

/// What a run has taken so far, in all its processes.
struct Spent {
  double total = 0, tokenize = 0, steps = 0, evaluate = 0, checkpoint = 0;  // seconds
  int64_t rows = 0;                                                         // trained on, by steps
  std::string started;                                                      // ISO 8601
};

/// Where a run stands between two steps, beside weights and moments.
struct RunState {
  int64_t step = 0;                             // steps done
  double epoch_loss = 0;                        // sum over the steps of the epoch
  format::Json recipe;                          // all that decides the result
  format::Json epochs = format::Json::Array{};  // one object per finished epoch
  std::optional<Best> best;
  Spent spent;
  std::string history;  // a JSON line per step
};

/// Its seconds, as a checkpoint and run.json have them.
format::Json to_json(const Spent& spent);

// In a checkpoint's folder: weights.safetensors, moments.safetensors (NAME.first, NAME.second), state.json,
// metrics.jsonl, and best.safetensors if there is a best epoch; all f32.

/// Writes a checkpoint of a settled trainer. The best weights are these weights if `is_best`, else those of
/// `previous`. Returns its folder.
base::Path save_checkpoint(const base::Path& root, const RunState& state, Trainer& trainer,
                           models::TextClassifier& model, bool is_best,
                           const std::optional<base::Path>& previous);

/// The state of an undamaged checkpoint. Throws invalid if `recipe` is another one: names the first member that differs.
RunState read_state(const base::Path& checkpoint, const format::Json& recipe);

/// Takes over weights and moments.
void restore_trainer(const base::Path& checkpoint, const RunState& state, Trainer& trainer,
                     models::TextClassifier& model);

/// The best weights so far, or the last ones if there is no best epoch.
void load_best(const base::Path& checkpoint, const RunState& state, models::TextClassifier& model);

}  // namespace textmill::train
