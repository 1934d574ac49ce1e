#include "offline/predict.h"

#include "cli/columns.h"
#include "cli/commands.h"
#include "cli/engine.h"
#include "cli/output.h"

namespace textmill::cli {
namespace {

int predict(const Values& values) {
  values.require_one_of("TEXT", "data");
  offline::PredictOptions options{.model = values.text("MODEL"),
                                  .data = values.text("data"),
                                  .text = values.text("TEXT"),
                                  .columns = columns(values),
                                  .encoder = {engine_options(values), max_length_option(values)}};
  if (values.has("PAIR")) options.pair = values.text("PAIR");
  return interruptible([&](std::stop_token stop) {
    Output out;
    offline::predict(options, std::move(stop),
                     [&](const std::string& line) { (out.line() += line) += '\n'; });
    out.finish();
    return 0;
  });
}

}  // namespace

Command predict_command() {
  return {"predict",
          "the best label of each text and its score, as JSON lines",
          {{"MODEL", "a Hugging Face folder, or a model.tar.gz of one"},
           {"TEXT", "what to classify, or --data", false},
           {"PAIR", "the second text, where the model takes two", false}},
          with_engine_options(with_column_options({data_option()}, false)),
          predict};
}

}  // namespace textmill::cli
