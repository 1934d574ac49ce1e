#include "offline/predict.h"

#include "base/error.h"
#include "base/signals.h"
#include "cli/commands.h"
#include "cli/engine.h"
#include "cli/output.h"

namespace textmill::cli {
namespace {

int predict(const Values& values) {
  values.exclude("TEXT", "data");
  if (!values.has("TEXT") && !values.has("data"))
    throw base::Error(base::Kind::invalid, "nothing to predict: TEXT or --data is missing");
  offline::PredictOptions options{.model = values.text("MODEL"),
                                  .data = values.text("data"),
                                  .text = values.text("TEXT"),
                                  .columns = {values.text("text"), values.text("text-pair"), ""},
                                  .classifier = {engine_options(values), max_length_option(values)}};
  base::StopSignals signals;
  Output out;
  offline::predict(options, signals.token(), [&](const std::string& line) { out.line() += line + "\n"; });
  out.finish();
  return 0;
}

}  // namespace

Command predict_command() {
  return {
      "predict",
      "the best label of each text and its score, as JSON lines",
      {{"MODEL", "a Hugging Face folder, or a model.tar.gz of one"}, {"TEXT", "a text, or --data", false}},
      with_engine_options(
          {{"data", "FILE", "TSV, CSV, JSON lines or fastText lines, plain or compressed; or a folder", true},
           {"text", "COLUMN", "column of the text, by name or number (guessed)"},
           {"text-pair", "COLUMN", "column of the second text, for pairs"}}),
      predict};
}

}  // namespace textmill::cli
