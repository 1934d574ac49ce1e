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
constexpr int kMostColumns = 1 << 20;

std::optional<nn::PackedLayout> layout_option(const Values& values) {
  std::string layout = values.text("layout", "textmill");
  if (layout == "textmill") return {};
  if (layout == "gptq") return nn::PackedLayout::gptq;
  if (layout == "awq") return nn::PackedLayout::awq;
  throw base::Error(base::Kind::invalid,
                    fmt::format("--layout: '{}': expected textmill, gptq or awq", layout));
}

/// Each scheme's name and what it is.
std::string scheme_help() {
  std::string all;
  for (const tasks::Scheme& scheme : tasks::schemes())
    all += fmt::format("{}{}: {}", all.empty() ? "" : "; ", scheme.name, scheme.is);
  return fmt::format("{} ({})", all, tasks::schemes()[0].name);
}

int quantize(const Values& values) {
  for (std::string_view name : {"data", "output"}) values.require(name);
  offline::QuantizeOptions options{.model = values.text("MODEL"),
                                   .data = values.text("data"),
                                   .output = values.text("output"),
                                   .calibration = values.text("calibration"),
                                   .columns = columns(values),
                                   .allow_overlap = values.on("allow-overlap"),
                                   .encoder = {engine_options(values), max_length_option(values)}};
  options.quantizable = {
      .scheme = &tasks::scheme_named(values.text("scheme", tasks::schemes()[0].name)),
      .group = static_cast<int>(values.integer("group-size", 0, kMostColumns).value_or(128)),
      .layout = layout_option(values)};
  if (values.has("metric")) options.metric = tasks::metric_named(values.text("metric"));
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
  static const std::string scheme = scheme_help();  // options are views
  return {"quantize",
          "a quantized model that loses no more than a goal; exit status 3 if none does",
          {{"MODEL", "a Hugging Face folder, or a model.tar.gz of one"}},
          with_engine_options(with_column_options(
              {data_option(),
               {"output", "DIR",
                "the quantized model, with pareto.json and pareto.html; goes on where it was killed", true},
               {"metric", "accuracy|f1|macro_f1|spearman",
                "what must stay (accuracy); f1 is of the positive label of two, of more labels macro_f1; an "
                "embedder's is spearman"},
               {"positive", "LABEL", "the label whose F1 counts (the second of two)"},
               {"max-loss", "X", "share of the metric in f32 that may be lost (0.01)"},
               {"max-loss-absolute", "X", "the same as a difference"},
               {"confidence", "P", "share of bootstrap resamples of the rows that must keep to it (0.5)"},
               {"scheme", "NAME", scheme},
               {"group-size", "N",
                "input columns that share a scale where weights alone are quantized; 0: all (128)"},
               {"layout", "textmill|gptq|awq",
                "whose checkpoints' layout the linear layers are written in (textmill)"},
               {"calibration", "F",
                "rows to calibrate with, without labels: as many of the first 4,096 as 1 GiB holds the "
                "inputs of all layers for (the first 64 of --data)",
                true},
               {"allow-overlap", "", "evaluate calibration rows too"}},
              true)),
          quantize};
}

}  // namespace textmill::cli
