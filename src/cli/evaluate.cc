#include "offline/evaluate.h"

#include "base/error.h"
#include "base/signals.h"
#include "cli/commands.h"
#include "cli/engine.h"
#include "cli/output.h"

namespace textmill::cli {
namespace {

int evaluate(const Values& values) {
  if (!values.has("data"))
    throw base::Error(base::Kind::invalid, "--data is missing: what to score the model on");
  offline::EvaluateOptions options{
      .model = values.text("MODEL"),
      .data = values.text("data"),
      .columns = {values.text("text"), values.text("text-pair"), values.text("label")},
      .classifier = {engine_options(values), max_length_option(values)}};
  if (values.has("positive")) options.positive = values.text("positive");
  base::StopSignals signals;
  Output out;
  out.line() += to_pretty_text(offline::evaluate(options, signals.token()));
  out.finish();
  return 0;
}

}  // namespace

Command evaluate_command() {
  return {
      "evaluate",
      "accuracy, F1, loss and confusion matrix on labelled texts, as JSON",
      {{"MODEL", "a Hugging Face folder, or a model.tar.gz of one"}},
      with_engine_options(
          {{"data", "FILE", "TSV, CSV, JSON lines or fastText lines, plain or compressed; or a folder", true},
           {"text", "COLUMN", "column of the text, by name or number (guessed)"},
           {"text-pair", "COLUMN", "column of the second text, for pairs"},
           {"label", "COLUMN", "column of the label (guessed)"},
           {"positive", "LABEL", "the label whose F1 is reported (id 1 of two)"}}),
      evaluate};
}

}  // namespace textmill::cli
