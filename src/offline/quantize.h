#pragma once

#include <optional>
#include <stop_token>
#include <string>

#include "data/schema.h"
#include "format/json.h"
#include "tasks/encoder.h"
#include "tasks/paired.h"
#include "tasks/quantizable.h"

namespace textmill::offline {

struct QuantizeOptions {
  base::Path model, data, output;
  base::Path
      calibration;  // rows that need no label; by default the first 64 of `data`, which are then not evaluated
  data::Columns
      columns;  // empty ones are guessed; of an embedder the label is a number, how alike two texts are
  std::optional<tasks::Metric> metric;  // by default accuracy, of an embedder spearman
  std::optional<std::string> positive;  // the label whose F1 counts; by default id 1 of two
  double max_loss = 0.01;               // of the metric, against the model in f32
  bool relative = true;                 // max_loss is a share of the metric, else a difference
  double confidence =
      0.5;  // the share of bootstrap resamples that must keep max_loss; 0.5: the rows as they are
  bool allow_overlap = false;  // calibration rows may be evaluated too
  tasks::QuantizableOptions quantizable;
  tasks::EncoderOptions encoder;
};

/// Looks for the most of an encoder that can be quantized (as tasks::Scheme says) with a metric's loss within max_loss, and
/// writes that model to `output`; if none is, the nearest. All linear layers of the body quantized are tried first; then
/// those with the most noise (Quantizable::noise, from one pass over the calibration rows) fall back to floating point, how
/// many is found by bisection. Embedding tables are in 8 bits in all trials, unless the layout is another program's.
///
/// Beside the model: quantize.journal.json, from which a run that was killed goes on, and pareto.json and pareto.html with
/// every trial (accuracy, latency, size). Returns pareto.json's object; "met" says whether the goal was reached. Throws
/// invalid as evaluate() does, if the model is quantized already, or `output` holds another search.
format::Json quantize(const QuantizeOptions& options, std::stop_token stop);

/// pareto.html: one page, with nothing to load.
std::string pareto_page(const format::Json& result);

}  // namespace textmill::offline
