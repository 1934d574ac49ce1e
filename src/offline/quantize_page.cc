#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "offline/quantize.h"

namespace textmill::offline {
namespace {

using format::Json, format::JsonView;

std::string escaped(std::string_view text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '<': out += "&lt;"; break;
      case '&': out += "&amp;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

/// Where a value lies on an axis that holds all of them, with a tenth of room at each end.
class Axis {
 public:
  Axis(const std::vector<JsonView>& trials, const char* member, double begin, double end)
      : begin_(begin), end_(end) {
    for (const JsonView& trial : trials) {
      double value = trial.at(member).number();
      low_ = std::min(low_, value);
      high_ = std::max(high_, value);
    }
    double room = std::max((high_ - low_) / 10, 1e-6);
    low_ -= room, high_ += room;
  }
  double at(double value) const { return begin_ + (value - low_) / (high_ - low_) * (end_ - begin_); }
  double low() const { return low_; }
  double high() const { return high_; }

 private:
  double begin_, end_, low_ = HUGE_VAL, high_ = -HUGE_VAL;
};

/// Each trial as a circle whose area is its size: `x` against the metric.
std::string plot(const std::vector<JsonView>& trials, const char* x, const char* label,
                 const std::string& metric) {
  constexpr int kWidth = 560, kHeight = 320, kLeft = 70, kBottom = 280;
  Axis across(trials, x, kLeft, kWidth - 20), up(trials, "value", kBottom, 20);
  std::string marks;
  for (const JsonView& trial : trials) {
    double cx = across.at(trial.at(x).number()), cy = up.at(trial.at("value").number());
    std::string name = escaped(trial.at("name").string());
    marks += fmt::format(
        R"(<circle cx="{:.1f}" cy="{:.1f}" r="7" class="{}"><title>{}</title></circle><text x="{:.1f}" y="{:.1f}">{}</text>)",
        cx, cy,
        trial.at("chosen").boolean()   ? "chosen"
        : trial.at("pareto").boolean() ? "pareto"
                                       : "other",
        name, std::min(cx + 10, kWidth - 8.0 * static_cast<double>(name.size()) / 1.4), cy - 10, name);
  }
  return fmt::format(
      R"(<svg viewBox="0 0 {} {}" role="img" aria-label="{} against {}"><path d="M{} 10V{}H{}" class="axis"/>{}
<text x="4" y="24">{:.4f}</text><text x="4" y="{}">{:.4f}</text><text x="{}" y="{}">{:.2f}</text>
<text x="{}" y="{}" text-anchor="end">{:.2f}</text><text x="{}" y="{}" text-anchor="middle">{}</text></svg>)",
      kWidth, kHeight, metric, label, kLeft - 5, kBottom, kWidth, marks, up.high(), kBottom, up.low(), kLeft,
      kBottom + 16, across.low(), kWidth, kBottom + 16, across.high(), (kLeft + kWidth) / 2, kBottom + 32,
      label);
}

std::string trial_rows(const std::vector<JsonView>& trials) {
  std::string rows;
  for (const JsonView& trial : trials) {
    auto interval = trial.at("loss_95").array();
    rows += fmt::format(
        "<tr{}><td>{}</td><td>{:.4f}</td><td>{:.2f} %</td><td>{:.2f} to {:.2f} %</td><td>{:.2f} %</td>"
        "<td>{:.2f}</td><td>{:.1f}</td></tr>\n",
        trial.at("chosen").boolean() ? R"( class="chosen")" : "", escaped(trial.at("name").string()),
        trial.at("value").number(), 100 * trial.at("loss").number(), 100 * interval[0].number(),
        100 * interval[1].number(), 100 * trial.at("agreement").number(), trial.at("latency_ms").number(),
        trial.at("bytes").number() / 1e6);
  }
  return rows;
}

std::string layer_rows(const std::vector<JsonView>& layers) {
  std::string rows;
  double most = layers.empty() ? 1 : std::max(layers[0].at("noise").number(), 1e-12);
  for (const JsonView& layer : layers) {
    double noise = layer.at("noise").number();
    rows += fmt::format(R"(<tr><td>{}</td><td>{:.2e}</td><td><i style="width:{:.1f}em"></i></td></tr>)"
                        "\n",
                        escaped(layer.at("layer").string()), noise, 12 * noise / most);
  }
  return rows;
}

}  // namespace

std::string pareto_page(const Json& json) {
  JsonView result(json, "pareto.json");
  JsonView goal = result.at("goal");
  auto trials = result.at("trials").array();
  std::string metric = goal.at("metric").string();
  std::string verdict = result.at("met").boolean()
                            ? "The goal was met."
                            : fmt::format(
                                  "The goal was not met: the nearest lacks {:.2f} %, and keeps to it in "
                                  "{:.1f} % of the resamples of "
                                  "the rows (asked: {:.1f} %).",
                                  100 * result.at("gap").number(), 100 * result.at("within_goal").number(),
                                  100 * goal.at("confidence").number());
  return fmt::format(
      R"(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Quantization</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; }}
table {{ border-collapse: collapse; margin: 1em 0; }} td, th {{ padding: .2em .8em; text-align: right; }}
td:first-child, th:first-child {{ text-align: left; }} tr.chosen {{ background: #e5f3e8; }}
svg {{ width: 100%; max-width: 36em; font-size: 11px; }} .axis {{ fill: none; stroke: #999; }}
circle.chosen {{ fill: #1a8f3c; }} circle.pareto {{ fill: #2b6cb0; }} circle.other {{ fill: #bbb; }}
i {{ display: inline-block; height: .7em; background: #2b6cb0; }}
</style></head><body>
<h1>Quantization: {scheme}</h1>
<p>{verdict} Goal: at most {goal:.2f} % {kind} loss of {metric}, on {rows} rows; {calibration} rows for calibration;
{threads} threads. Green is the chosen model, blue what no other trial beats in all three of {metric}, latency and size.</p>
{by_latency}
{by_size}
<table><tr><th>trial</th><th>{metric}</th><th>loss</th><th>95 % of resamples</th><th>agreement</th><th>ms a row</th><th>MB</th></tr>
{trials}</table>
<h2>Noise of each layer when it is quantized</h2>
<table><tr><th>layer</th><th>error / signal</th><th></th></tr>
{layers}</table></body></html>
)",
      fmt::arg("scheme", escaped(result.at("scheme").string())), fmt::arg("verdict", verdict),
      fmt::arg("goal", 100 * goal.at("max_loss").number()),
      fmt::arg("kind", goal.at("relative").boolean() ? "relative" : "absolute"), fmt::arg("metric", metric),
      fmt::arg("rows", result.at("rows").integer()),
      fmt::arg("calibration", result.at("calibration_rows").integer()),
      fmt::arg("threads", result.at("threads").integer()),
      fmt::arg("by_latency", plot(trials, "latency_ms", "milliseconds a row, one at a time", metric)),
      fmt::arg("by_size", plot(trials, "bytes", "bytes of weights", metric)),
      fmt::arg("trials", trial_rows(trials)), fmt::arg("layers", layer_rows(result.at("layers").array())));
}

}  // namespace textmill::offline
