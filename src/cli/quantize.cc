#include "offline/quantize.h"

#include <fmt/format.h>

#include "base/error.h"
#include "cli/columns.h"
#include "cli/commands.h"
#include "cli/engine.h"
#include "cli/output.h"

namespace textmill::cli {
namespace {

constexpr int kGoalMissed = 3;  // the exit status
constexpr const char* kScheme = "w8a8-dynamic";

int quantize(const Values& values) {
  for (std::string_view name : {"data", "output"}) values.require(name);
  offline::QuantizeOptions options{.model = values.text("MODEL"),
                                   .data = values.text("data"),
                                   .output = values.text("output"),
                                   .calibration = values.text("calibration"),
                                   .columns = columns(values),
                                   .metric = tasks::metric_named(values.text("metric", "accuracy")),
                                   .allow_overlap = values.on("allow-overlap"),
                                   .classifier = {engine_options(values), max_length_option(values)}};
  if (std::string scheme = values.text("scheme", kScheme); scheme != kScheme) {
    throw base::Error(base::Kind::invalid,
                      fmt::format("--scheme: '{}' is not built; {} is", scheme, kScheme));
  }
  if (values.has("positive")) options.positive = values.text("positive");
  if (values.has("max-loss") && values.has("max-loss-absolute")) {
    throw base::Error(base::Kind::invalid, "--max-loss and --max-loss-absolute exclude each other");
  }
  options.relative = !values.has("max-loss-absolute");
  options.max_loss = values.number(options.relative ? "max-loss" : "max-loss-absolute", 0, 1).value_or(0.01);
  options.confidence = values.number("confidence", 0, 1).value_or(0.5);
  return interruptible([&](std::stop_token stop) {
    format::Json result = offline::quantize(options, std::move(stop));
    Output out;
    out.line() += format::to_pretty_text(result);
    out.finish();
    return *result.find("met")->boolean() ? 0 : kGoalMissed;
  });
}

}  // namespace

Command quantize_command() {
  return {"quantize",
          "a model in 8 bits that loses no more than a goal; exit status 3 if none does",
          {{"MODEL", "a Hugging Face folder, or a model.tar.gz of one"}},
          with_engine_options(with_column_options(
              {data_option(),
               {"output", "DIR",
                "the quantized model, with pareto.json and pareto.html; goes on where it was killed", true},
               {"metric", "accuracy|f1|macro_f1",
                "what must stay (accuracy); f1 is of the positive label of two"},
               {"positive", "LABEL", "the label whose F1 counts (the second of two)"},
               {"max-loss", "X", "share of the metric in f32 that may be lost (0.01)"},
               {"max-loss-absolute", "X", "the same as a difference"},
               {"confidence", "P", "share of bootstrap resamples of the rows that must keep to it (0.5)"},
               {"scheme", "w8a8-dynamic", "8-bit weights by channel, activations by token (w8a8-dynamic)"},
               {"calibration", "F", "rows to calibrate with, without labels (the first 64 of --data)", true},
               {"allow-overlap", "", "evaluate calibration rows too"}},
              true)),
          quantize};
}

}  // namespace textmill::cli
