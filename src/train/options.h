#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "format/json.h"
#include "nn/record.h"

namespace textmill::train {

/// A recipe. Everything here but `threads`, `checkpoint_every` and `resume` decides the bytes of the result.
struct TrainOptions {
  std::string task = "text-classification";
  std::string text, text_pair, label;  // columns, by name or number; empty: guessed, and said
  int epochs = 3;
  int batch_size = 16;               // rows of a micro-batch
  int gradient_accumulation = 1;     // micro-batches of a step
  double learning_rate = 5e-5;       // the peak, after warm-up; then linearly to 0
  double warmup_ratio = 0.1;         // of all steps
  double weight_decay = 0.01;        // of matrices; biases and norms have none
  double max_grad_norm = 1.0;        // 0: no clipping
  std::optional<double> dropout;     // instead of the configuration's
  std::optional<int> max_length;     // tokens of a sequence
  std::optional<nn::Format> format;  // precision of products and activations; master weights are f32
  uint64_t seed = 42;
  int threads = 0;           // 0: as many as this process may use
  int checkpoint_every = 0;  // steps; 0: at the end of each epoch
  bool resume = false;
};

struct OptionValue {
  std::string_view option, text;  // the option as errors name it
};

/// One option: its flag is --NAME, its hyperparameter NAME with _ for -.
struct OptionRow {
  std::string_view name;
  std::string_view value;  // what it takes, for --help: "N", "X", "COLUMN", "bf16|f32"; empty: a switch
  std::string_view help;
  void (*set)(TrainOptions&, const OptionValue&);  // throws invalid: the option, the value, what was expected
};

/// All options but the inputs and outputs (model, train, validation, output).
std::span<const OptionRow> option_rows();

/// Those that decide the result, under their hyperparameters' names.
format::Json to_json(const TrainOptions& options);

/// Throws invalid if options do not go together.
void check(const TrainOptions& options);

}  // namespace textmill::train
