#include "offline/evaluate.h"

#include "cli/columns.h"
#include "cli/commands.h"
#include "cli/engine.h"
#include "cli/output.h"

namespace textmill::cli {
namespace {

int evaluate(const Values& values) {
  values.require("data");
  offline::EvaluateOptions options{.model = values.text("MODEL"),
                                   .data = values.text("data"),
                                   .columns = columns(values),
                                   .encoder = {engine_options(values), max_length_option(values)}};
  if (values.has("positive")) options.positive = values.text("positive");
  return interruptible([&](std::stop_token stop) {
    Output out;
    out.line() += format::to_pretty_text(offline::evaluate(options, std::move(stop)));
    out.finish();
    return 0;
  });
}

}  // namespace

Command evaluate_command() {
  return {"evaluate",
          "scores of a model on labelled texts, as JSON",
          {{"MODEL", "a Hugging Face folder, or a model.tar.gz of one"}},
          with_engine_options(with_column_options(
              {data_option(), {"positive", "LABEL", "the label whose F1 is reported (the second of two)"}},
              true)),
          evaluate};
}

}  // namespace textmill::cli
